package fingerprint

import (
	"context"
	"fmt"
	"strings"

	"github.com/sojournlm/sojourn/internal/code"
)

// MachineComponent names the component that [Machine] finds.
const MachineComponent = "MACHINE"

// Machine is the source of the operating system's own id for this
// installation: /etc/machine-id on Linux, the host's UUID on macOS, MachineGuid
// on Windows. It is the same for every user and privilege, survives updates and
// changes when the system is installed anew. A computer without one (a minimal
// container, another system) has no such component, so nothing is bound to it.
//
// A cloned disk carries the id along; only an imaging tool that resets it makes
// the clone another computer.
func Machine() Source { return machine{} }

type machine struct{}

func (machine) Components(ctx context.Context) ([]Component, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	raw, err := machineID()
	if err != nil {
		return nil, &Error{Code: code.GetHardwareIDError, Field: MachineComponent, Message: fmt.Sprintf("machine id cannot be read: %v", err)}
	}
	id, ok := normalID(raw)
	if !ok {
		return nil, nil
	}
	return []Component{{MachineComponent, id}}, nil
}

// normalID gives the 32 lower-case hex digits of an id however it is written,
// or false for what is no id: an image's empty file, "uninitialized", all
// zeros or all ones, which too many computers share.
func normalID(s string) (string, bool) {
	s = strings.ToLower(strings.ReplaceAll(strings.Trim(strings.TrimSpace(s), "{}"), "-", ""))
	if len(s) != 32 || strings.Trim(s, "0123456789abcdef") != "" {
		return "", false
	}
	return s, strings.Trim(s, "0") != "" && strings.Trim(s, "f") != ""
}
