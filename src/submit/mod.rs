//! From a request to a stored payload and a message; cancelling what was submitted.
