package lmhttp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"math"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"pgregory.net/rapid"
)

// general are the statuses that any operation may answer with. The document
// has them under "default", and the golden exchanges show each at least once.
var general = []int{
	http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed,
	http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusServiceUnavailable,
}

func loadDocument(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openAPIDocument)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestDocumentIsRoutes: the document has the operations of the routing table,
// no more and no fewer.
func TestDocumentIsRoutes(t *testing.T) {
	var documented, served []string
	for path, item := range loadDocument(t).Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	for _, r := range routes {
		served = append(served, r.method+" "+BasePath+r.path)
	}
	slices.Sort(documented)
	slices.Sort(served)
	if !slices.Equal(documented, served) {
		t.Errorf("documented: %q\nserved: %q", documented, served)
	}
}

// TestDocumentHolds: every golden exchange is as the document says, in both
// directions, and every status that the document names for an operation has a
// golden exchange.
func TestDocumentHolds(t *testing.T) {
	doc := loadDocument(t)
	seen := make(map[string]bool) // "GET /path 200", or a general status
	files, err := filepath.Glob("testdata/*.http")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".http"), func(t *testing.T) {
			req, body, res, answer := readExchange(t, file)
			item := doc.Paths.Find(req.URL.Path)
			var op *openapi3.Operation
			if item != nil {
				op = item.GetOperation(req.Method)
			}
			if op == nil {
				if res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusMethodNotAllowed {
					t.Fatalf("status %d of an operation that is not in the document", res.StatusCode)
				}
				op = &openapi3.Operation{Responses: openapi3.NewResponses()}
				op.Responses.Set("default", doc.Components.Responses["Problem"])
			}
			status := strconv.Itoa(res.StatusCode)
			if op.Responses.Value(status) != nil {
				seen[req.Method+" "+req.URL.Path+" "+status] = true
			} else if !slices.Contains(general, res.StatusCode) && item != nil {
				t.Errorf("status %s is not in the document", status)
			}
			seen[status] = true
			in := &openapi3filter.RequestValidationInput{
				Request:     req,
				QueryParams: req.URL.Query(),
				Route: &routers.Route{
					Spec: doc, Path: req.URL.Path, PathItem: item, Method: req.Method, Operation: op,
				},
				Options: &openapi3filter.Options{
					AuthenticationFunc:    openapi3filter.NoopAuthenticationFunc,
					IncludeResponseStatus: true,
					SkipSettingDefaults:   true,
				},
			}
			req.Body = io.NopCloser(bytes.NewReader(body))
			served := item != nil && item.GetOperation(req.Method) != nil
			switch res.StatusCode {
			case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
				served = false // the request itself was at fault
			}
			for name := range req.URL.Query() {
				if op.Parameters.GetByInAndName("query", name) == nil && item != nil {
					t.Errorf("the query's %s is not in the document", name)
				}
			}
			if retry := res.Header.Get("Retry-After"); (retry != "") != (res.StatusCode == http.StatusServiceUnavailable) {
				t.Errorf("status %d with Retry-After %q", res.StatusCode, retry)
			}
			for _, file := range regexp.MustCompile(`"(?:license|fingerprint)":"([^"]*)"`).FindAllSubmatch(answer, -1) {
				if bytes, err := base64.StdEncoding.DecodeString(string(file[1])); err != nil || len(bytes) == 0 {
					t.Errorf("a file that is not base64: %s", file[0])
				}
			}
			if served {
				if err := openapi3filter.ValidateRequest(t.Context(), in); err != nil {
					t.Errorf("request: %v", err)
				}
			}
			out := &openapi3filter.ResponseValidationInput{
				RequestValidationInput: in, Status: res.StatusCode, Header: res.Header, Options: in.Options,
			}
			out.SetBodyBytes(answer)
			if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
				t.Errorf("response: %v", err)
			}
		})
	}
	for _, status := range general {
		if !seen[strconv.Itoa(status)] {
			t.Errorf("no golden exchange shows the status %d", status)
		}
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			for status := range op.Responses.Map() {
				if key := method + " " + path + " " + status; status != "default" && !seen[key] {
					t.Errorf("no golden exchange shows %s", key)
				}
			}
		}
	}
}

// TestDocumentedDigits: what the document calls an id in digits is what is read as
// one.
func TestDocumentedDigits(t *testing.T) {
	doc := loadDocument(t)
	for name, kind := range map[string]idKind{"IdDigits": wholeID, "KeyIdDigits": keyID, "Number32Digits": number32} {
		pattern := regexp.MustCompile(doc.Components.Schemas[name].Value.Pattern)
		rapid.Check(t, func(t *rapid.T) {
			near := rapid.SampledFrom([]uint64{0, 1 << 31, 1 << 32, math.MaxUint64 / 10, math.MaxUint64}).Draw(t, "near")
			n := new(big.Int).SetUint64(near)
			n.Add(n, big.NewInt(rapid.Int64Range(-12, 12).Draw(t, "by")))
			for _, text := range []string{
				n.String(), "-" + n.String(), "0" + n.String(), n.String() + "0",
				rapid.StringMatching(`-?[0-9]{0,21}`).Draw(t, "digits"), rapid.StringMatching(`[-+ 0-9.e]{0,4}`).Draw(t, "text"),
			} {
				if _, reason := kind.parse(text); pattern.MatchString(text) != (reason == "") {
					t.Fatalf("%s: %q is documented: %v, and read: %q", name, text, pattern.MatchString(text), reason)
				}
			}
		})
	}
}

// readExchange reads a golden file back.
func readExchange(t testing.TB, file string) (*http.Request, []byte, *http.Response, []byte) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	asked, answered, ok := bytes.Cut(text, []byte("\nHTTP/1.1 "))
	if !ok {
		t.Fatal("there is no answer in it")
	}
	head, body, _ := bytes.Cut(asked, []byte("\n\n"))
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(append(head, "\n\n"...))))
	if err != nil {
		t.Fatal(err)
	}
	head, answer, _ := bytes.Cut(answered, []byte("\n\n"))
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(append([]byte("HTTP/1.1 "), append(head, "\n\n"...)...))), req)
	if err != nil {
		t.Fatal(err)
	}
	return req, body, res, answer
}
