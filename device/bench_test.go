package device_test

import (
	"path/filepath"
	"testing"

	"github.com/sojournlm/sojourn/device"
)

// One batch's worth of an anchor in a file: a durable write and a signature.
func BenchmarkAdvanceFile(b *testing.B) {
	k, err := device.OpenFile(b.Context(), filepath.Join(b.TempDir(), "anchor"), [32]byte{})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	benchmarkAdvance(b, k)
}

func BenchmarkAdvanceMemory(b *testing.B) {
	k, err := device.OpenMemory(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	benchmarkAdvance(b, k)
}

func benchmarkAdvance(b *testing.B, k *device.Key) {
	var now device.Checkpoint
	for b.Loop() {
		var err error
		if now, err = k.Advance(b.Context(), now.Head, header(now.Seq+1, 5)); err != nil {
			b.Fatal(err)
		}
	}
}
