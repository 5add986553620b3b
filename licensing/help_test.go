package licensing

import (
	"io"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"time"
)

// randomOf is a source of bytes that is the same for the same seed.
func randomOf(seed int) io.Reader {
	return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
}

// cpuTime is how long this process has computed. The runtime counts it at each
// garbage collection, so it makes one.
func cpuTime() time.Duration {
	runtime.GC()
	s := []metrics.Sample{{Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"}}
	metrics.Read(s)
	return time.Duration((s[0].Value.Float64() - s[1].Value.Float64()) * float64(time.Second))
}
