package badgerstore_test

import (
	"context"
	"io"
	"strings"
	"sync"
)

// processContext is the context of a child process, which ends with it.
var processContext = context.Background()

// valueOf is the value that belongs to a key, some KiB long.
func valueOf(key string) []byte { return []byte(strings.Repeat(key+" ", 500)) }

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
