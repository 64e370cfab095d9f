# LocalStack, listening on 127.0.0.1 alone. Its server takes the port of an IPv4 address in GATEWAY_LISTEN and not the
# host, and so listens on every interface of the machine: anybody near could read and write what is stored.

import functools

from twisted.internet import endpoints

endpoints.TCP4ServerEndpoint = functools.partial(endpoints.TCP4ServerEndpoint, interface="127.0.0.1")

from localstack.runtime.main import main  # noqa: E402, it takes the endpoint as it finds it

main()
