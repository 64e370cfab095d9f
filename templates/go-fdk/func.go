package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"strings"

	fdk "github.com/fnproject/fdk-go"
)

func main() {
	fdk.Handle(fdk.HandlerFunc(handle))
}

// handle runs one call: the payload comes from in, the answer goes to out, what is
// printed goes into the call's log.
func handle(ctx context.Context, in io.Reader, out io.Writer) {
	body, err := io.ReadAll(in)
	if err != nil {
		log.Fatal(err)
	}
	name := nameIn(strings.TrimSpace(string(body)))
	log.Printf("greeting %s", name)
	fmt.Fprintf(out, "Hello %s\n", name)
}

// nameIn reads a payload that is a name, or JSON with one, or empty.
func nameIn(text string) string {
	if text == "" {
		return "World"
	}
	if !strings.HasPrefix(text, "{") {
		return text
	}
	var person struct{ Name *string }
	if err := json.Unmarshal([]byte(text), &person); err != nil || person.Name == nil {
		// Fn's FDK for Go knows no failed call, only a function that ends.
		log.Fatal(`the payload is no name and no JSON like {"name": "Ada"}`)
	}
	return *person.Name
}
