// Hands calls to handle, one after another: HTTP over the unix socket that FN_LISTENER
// names. Nothing here needs changing.

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Call is one request to run the function.
type Call struct {
	ID          string // the same for every attempt
	Attempt     int    // from 1
	Body        []byte
	ContentType string
	Header      http.Header
}

func main() {
	path := strings.TrimPrefix(os.Getenv("FN_LISTENER"), "unix:")
	if path == "" {
		log.Fatal("FN_LISTENER is not set: deploy this function and call it with `afn call`")
	}
	// Under another name until it listens: the socket is ready when it is found.
	unready := path + ".new"
	listener, err := net.Listen("unix", unready)
	if err == nil {
		err = os.Chmod(unready, 0o666)
	}
	if err == nil {
		err = os.Rename(unready, path)
	}
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, http.HandlerFunc(serve)))
}

func serve(w http.ResponseWriter, r *http.Request) {
	contentType, answer, err := run(r)
	if err != nil {
		log.Printf("failed: %v", err)
		contentType, answer = "text/plain; charset=utf-8", []byte(err.Error())
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
	}
	w.Write(answer)
}

func run(r *http.Request) (contentType string, answer []byte, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			debug.PrintStack()
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", nil, err
	}
	ctx := r.Context()
	if deadline, err := time.Parse(time.RFC3339, r.Header.Get("Fn-Deadline")); err == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	attempt, _ := strconv.Atoi(r.Header.Get("Afn-Attempt"))
	result, err := handle(ctx, &Call{
		ID:          r.Header.Get("Fn-Call-Id"),
		Attempt:     attempt,
		Body:        body,
		ContentType: r.Header.Get("Content-Type"),
		Header:      r.Header,
	})
	if err != nil {
		return "", nil, err
	}
	switch result := result.(type) {
	case nil:
		return "application/octet-stream", nil, nil
	case []byte:
		return "application/octet-stream", result, nil
	case string:
		return "text/plain; charset=utf-8", []byte(result), nil
	default:
		answer, err = json.Marshal(result)
		return "application/json", answer, err
	}
}
