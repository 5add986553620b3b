package lmhttp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/sojournlm/sojourn/licensing/licensingtest"
	"github.com/sojournlm/sojourn/licensing/lmhttp"
)

// A seat leaves an office's pool and works on a laptop, by HTTP alone.
func Example() {
	world := licensingtest.New()
	defer world.Close()
	office := world.Office(licensingtest.Feature{Product: 29, Number: 4, Seats: 3})
	laptop := world.Laptop("B2291-PC", office)

	pool := httptest.NewServer(lmhttp.New(office.Manager, nil))
	defer pool.Close()
	journey := httptest.NewServer(lmhttp.New(laptop.Manager, nil))
	defer journey.Close()

	seat := post(pool.URL+"/v1.0/lm/detach", fmt.Sprintf(
		`{"offline": true, "lmsId": "%d", "dongleId": %d, "durationInSec": 3600, "productFeatures": [{"productNumber": 29}]}`,
		laptop.LMSID, office.KeyID))
	fmt.Println("installed:", post(journey.URL+"/v1.0/lm/install", seat))
	fmt.Println("seats left:", office.Free(29, 4))
	fmt.Println("once more:", post(journey.URL+"/v1.0/lm/install", seat))
	// Output:
	// installed: {}
	// seats left: 2
	// once more: 409 Conflict
}

// post sends JSON and gives the answer, or the status of a refusal.
func post(url, body string) string {
	res, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	if res.StatusCode != http.StatusOK {
		return res.Status
	}
	return strings.TrimSpace(string(answer))
}
