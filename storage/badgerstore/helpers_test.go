package badgerstore_test

import (
	"context"
	"io"
	"strings"
	"sync"
)

// processContext is the context of a child process, which ends with it.
var processContext = context.Background()

// valueOf is the value that belongs to a key: some KiB, or hundreds when the key
// ends with a 0.
func valueOf(key string) []byte {
	times := 500
	if strings.HasSuffix(key, "0") {
		times = 100_000
	}
	return []byte(strings.Repeat(key+" ", times))
}

// lockedWriter lets goroutines share w.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
