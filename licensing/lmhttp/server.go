package lmhttp

import (
	"net/http"
	"time"
)

// writeTimeout is how long a client may take for an answer, or for each piece
// of a long list.
const writeTimeout = 30 * time.Second

// Server is an [http.Server] for a handler, with timeouts that slow clients
// cannot stretch: 5 s for a header of at most 16 KiB, 30 s for a request, 30 s
// for an answer or each piece of a list, 2 min between requests. The caller
// starts it and shuts it down; every field may be changed before.
func Server(addr string, handler http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,

		DisableGeneralOptionsHandler: true, // the handler judges every request
	}
}
