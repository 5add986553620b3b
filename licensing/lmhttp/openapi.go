package lmhttp

import (
	_ "embed"
	"net/http"
	"strconv"
)

// document is the API in OpenAPI 3.1.
//
//go:embed openapi.yaml
var document []byte

func (c *call) openAPI() error {
	h := c.answer.Header()
	h.Set("Content-Type", "application/yaml")
	h.Set("Content-Length", strconv.Itoa(len(document)))
	c.answer.WriteHeader(http.StatusOK)
	c.answer.Write(document)
	return nil
}
