package lmhttp

import (
	_ "embed"
	"net/http"
	"strconv"
)

// openAPIDocument is the API in OpenAPI 3.1.
//
//go:embed openapi.yaml
var openAPIDocument []byte

func (c *call) openAPI() error {
	h := c.answer.Header()
	h.Set("Content-Type", "application/yaml")
	h.Set("Content-Length", strconv.Itoa(len(openAPIDocument)))
	c.answer.WriteHeader(http.StatusOK)
	c.answer.Write(openAPIDocument)
	return nil
}
