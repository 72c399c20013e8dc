// Follows a stream with tmaxmax/go-sse or r3labs/sse, as its first argument says, and prints each event as a line of JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	r3labs "github.com/r3labs/sse/v2"
	tmaxmax "github.com/tmaxmax/go-sse"
)

type event struct {
	Type string `json:"type"`
	Data string `json:"data"`
	ID   string `json:"id"`
}

var out = json.NewEncoder(os.Stdout)

func see(kind, data, id string) {
	if kind == "" {
		kind = "message"
	}
	if err := out.Encode(event{kind, data, id}); err != nil {
		panic(err)
	}
}

// It connects again by itself until an answer is no stream: 204.
func byTmaxmax(url string) error {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	status := 0
	client := tmaxmax.Client{ResponseValidator: func(response *http.Response) error {
		status = response.StatusCode
		return tmaxmax.DefaultValidator(response)
	}}
	connection := client.NewConnection(request)
	connection.SubscribeToAll(func(e tmaxmax.Event) { see(e.Type, e.Data, e.LastEventID) })
	if err := connection.Connect(); status != http.StatusNoContent {
		return err
	}
	return nil
}

// It connects again by itself until an answer ends as it should.
func byR3labs(url string) error {
	return r3labs.NewClient(url).SubscribeRaw(func(e *r3labs.Event) { see(string(e.Event), string(e.Data), string(e.ID)) })
}

func main() {
	err := map[string]func(string) error{"tmaxmax": byTmaxmax, "r3labs": byR3labs}[os.Args[1]](os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
