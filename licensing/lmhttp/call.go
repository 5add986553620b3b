package lmhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/sojournlm/sojourn/licensing"
)

const (
	jsonType = "application/json"

	// maxBody is the largest body that is read, in bytes. The largest license
	// in base64 is well below it.
	maxBody = 1 << 20
)

// call is one request with everything in it that does not depend on the
// operation: parsed, and not yet checked.
type call struct {
	ctx     context.Context
	manager *licensing.Manager
	answer  *answer
	method  string
	query   query
	body    *fields                  // nil where the operation takes none
	change  *licensing.ChangeOptions // nil where the operation changes nothing

	limits limits
	held   []crowd            // of limits, until the end
	cancel context.CancelFunc // ends ctx
}

// read parses the request. Its time runs from then on.
func (c *call) read(w *answer, r *http.Request, kind kind) (err error) {
	if c.query, err = parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if kind != reading {
		members, err := c.members(w, r, c.limits.bodies(kind))
		if err != nil {
			return err
		}
		c.body = newFields(members)
	}
	if kind == changing {
		c.change, err = changeOptions(r.Header)
	}
	c.ctx, c.cancel = context.WithTimeout(r.Context(), operationTime)
	return err
}

// members are the fields of a request's body. Those of a DELETE may stand in its
// query instead: some proxies drop its body.
func (c *call) members(w *answer, r *http.Request, among crowd) (map[string]json.RawMessage, error) {
	bare := r.Method == http.MethodDelete && r.ContentLength == 0
	if !bare && !isJSON(r.Header) {
		w.Header().Set("Accept", jsonType)
		return nil, &refusal{
			http.StatusUnsupportedMediaType, licensing.InvalidParameter, "the body is not declared as JSON in UTF-8",
			"Send the header Content-Type: " + jsonType + ".",
		}
	}
	body, err := c.readBody(w, r, among)
	if err != nil {
		return nil, err
	}
	fromQuery := c.query.members()
	if r.Method != http.MethodDelete {
		return parseObject(body)
	}
	if len(body) == 0 {
		return fromQuery, nil
	}
	members, err := parseObject(body)
	for name := range members {
		if _, both := fromQuery[name]; both {
			return nil, invalid(name, "it stands both in the query and in the body")
		}
	}
	return members, err
}

// readBody reads a body. Beyond a small one it waits until it may.
func (c *call) readBody(w *answer, r *http.Request, among crowd) ([]byte, error) {
	tooLarge := &refusal{
		http.StatusRequestEntityTooLarge, licensing.InvalidParameter, "the body is larger than 1 MiB",
		"No request of this API is that large; send what is needed only.",
	}
	if r.ContentLength > maxBody {
		return nil, tooLarge
	}
	limited := http.MaxBytesReader(w.ResponseWriter, r.Body, maxBody)
	body, err := io.ReadAll(io.LimitReader(limited, smallBody))
	if err == nil && len(body) == smallBody {
		if err := c.wait(r.Context(), among); err != nil {
			return nil, err
		}
		whole := bytes.NewBuffer(body)
		_, err = whole.ReadFrom(limited)
		body = whole.Bytes()
	}
	var limit *http.MaxBytesError
	switch {
	case errors.As(err, &limit):
		return nil, tooLarge
	case err != nil:
		return nil, invalid("the body", "it ended before it was whole")
	}
	return body, nil
}

// isJSON tells whether a body is declared as JSON, in the one encoding that JSON
// has.
func isJSON(h http.Header) bool {
	if len(h.Values("Content-Type")) != 1 {
		return false
	}
	media, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset, given := params["charset"]
	return err == nil && media == jsonType && (!given || strings.EqualFold(charset, "utf-8"))
}

// changeOptions reads the request key.
func changeOptions(h http.Header) (*licensing.ChangeOptions, error) {
	const header = "Idempotency-Key"
	switch keys := h.Values(header); {
	case len(keys) == 0:
		return nil, nil
	case len(keys) > 1:
		return nil, invalid(header, "given %d times", len(keys))
	case keys[0] == "":
		return nil, invalid(header, "it is empty")
	case len(keys[0]) > licensing.MaxRequestKey:
		return nil, invalid(header, "%d bytes, at most %d are allowed", len(keys[0]), licensing.MaxRequestKey)
	default:
		return &licensing.ChangeOptions{RequestKey: keys[0]}, nil
	}
}
