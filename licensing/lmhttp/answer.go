package lmhttp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sojournlm/sojourn/licensing"
)

// answer is the response to one request, and remembers its status for the log.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// write answers with one JSON object. That the client has gone is nobody's
// error.
func (a *answer) write(status int, v any) {
	var body bytes.Buffer
	if err := newEncoder(&body).Encode(v); err != nil {
		panic(fmt.Sprintf("lmhttp: %T cannot be encoded: %v", v, err)) // all of them are plain structs
	}
	a.Header().Set("Content-Type", jsonType)
	a.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	a.renew()
	a.WriteHeader(status)
	a.Write(body.Bytes())
}

// renew gives what is written next its own time: the operation before it may have
// used up the server's.
func (a *answer) renew() {
	http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(writeTimeout)) // not every server can; then it has its own
}

// newEncoder writes text as it is: nobody takes these answers for HTML.
func newEncoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

// writeList answers with {"name":[rows]}. Rows are made while they are written,
// so that a list of any length takes the same memory.
func writeList[T, R any](c *call, name string, list *licensing.List[T], row func(T) R) {
	c.nameSilent(list.Silent)
	rows := c.rows(name, list.Total)
	for entry := range list.All() {
		if !rows.write(row(entry)) {
			break
		}
	}
	rows.end()
}

// nameSilent says which managers did not answer: what a list shows of theirs is
// as it was when they last did.
func (c *call) nameSilent(silent []licensing.Computer) {
	const most = 16 // what is told
	for _, m := range silent[:min(len(silent), most)] {
		c.answer.Header().Add("X-Silent-Manager", fmt.Sprintf("host=%s; lmsId=%d; since=%d",
			strconv.QuoteToASCII(clip(m.HostName)), m.LMSID, unix(m.Silent)))
	}
}

// rows is an answer that is a list, being written.
type rows struct {
	out   *bufio.Writer
	json  *json.Encoder
	first bool
	stop  bool // the client has gone, or wants no rows
	head  bool // only the header is wanted
}

// rows begins a list. total counts its entries before paging.
func (c *call) rows(name string, total int) *rows {
	h := c.answer.Header()
	h.Set("Content-Type", jsonType)
	h.Set("X-Total-Count", strconv.Itoa(total))
	out := bufio.NewWriterSize(patient{c.answer}, 16<<10)
	r := &rows{out: out, json: newEncoder(out), first: true, stop: c.method == http.MethodHead}
	if !r.stop {
		fmt.Fprintf(out, "{%q:[", name)
	}
	r.head = r.stop // whose length would be that of no row
	return r
}

// write writes one row. It tells whether more are wanted.
func (r *rows) write(row any) bool {
	if r.stop {
		return false
	}
	if !r.first {
		r.out.WriteByte(',')
	}
	r.first = false
	r.stop = r.json.Encode(row) != nil
	return !r.stop
}

func (r *rows) end() {
	if r.head {
		return
	}
	r.out.WriteString("]}\n")
	r.out.Flush()
}

// patient gives every piece of a long answer its own time: a client that keeps
// reading gets all of it, one that stopped does not hold the server.
type patient struct{ answer *answer }

func (p patient) Write(b []byte) (int, error) {
	p.answer.renew()
	return p.answer.Write(b)
}
