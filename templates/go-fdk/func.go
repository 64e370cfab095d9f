package main

import (
	"context"
	"encoding/json"
	"io"
	"log"

	fdk "github.com/fnproject/fdk-go"
)

func main() {
	fdk.Handle(fdk.HandlerFunc(handle))
}

// handle runs one call: the payload comes from in, the answer goes to out, what is
// printed goes into the call's log.
func handle(ctx context.Context, in io.Reader, out io.Writer) {
	person := struct {
		Name string `json:"name"`
	}{Name: "World"}
	if err := json.NewDecoder(in).Decode(&person); err != nil && err != io.EOF {
		// Fn's FDK for Go knows no failed call, only a function that ends.
		log.Fatalf(`the payload should look like {"name": "Ada"}: %v`, err)
	}
	log.Printf("greeting %s", person.Name)
	json.NewEncoder(out).Encode(map[string]string{"message": "Hello " + person.Name})
}
