//go:build linux

package functionfs

import "testing"

// A transfer that is too long is dropped to its end, and nothing else is.
func TestExcess(t *testing.T) {
	type read struct {
		full           bool
		life           int
		ended, tooLong bool
	}
	for name, reads := range map[string][]read{
		"sound":                        {{false, 0, true, false}, {false, 0, true, false}},
		"too long":                     {{true, 0, false, false}, {true, 0, false, false}, {false, 0, true, true}, {false, 0, true, false}},
		"given up, and a reset":        {{true, 0, false, false}, {false, 1, true, false}, {false, 1, true, false}},
		"too long after a reset":       {{true, 1, false, false}, {false, 1, true, true}},
		"too long on both sides of it": {{true, 0, false, false}, {true, 1, false, false}, {false, 1, true, true}},
	} {
		var e excess
		for i, r := range reads {
			if ended, tooLong := e.read(r.full, r.life); ended != r.ended || tooLong != r.tooLong {
				t.Errorf("%s: read %d: ended %v, too long %v", name, i, ended, tooLong)
			}
		}
	}
}
