//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// unpackKernel takes the kernel out of its self-extracting image, once: that is done
// far faster here than in the machine. (The image is laid out as Linux's
// Documentation/arch/x86/boot.rst says.)
func unpackKernel(image, to string) (string, error) {
	if _, err := os.Stat(to); err == nil {
		return to, nil
	}
	b, err := os.ReadFile(image)
	if err != nil {
		return "", err
	}
	const setupSectors, payloadOffset, payloadLength, sector = 0x1F1, 0x248, 0x24C, 512
	if len(b) < payloadLength+4 {
		return "", fmt.Errorf("%s is no kernel", image)
	}
	sectors := int(b[setupSectors])
	if sectors == 0 {
		sectors = 4
	}
	start := (sectors+1)*sector + int(binary.LittleEndian.Uint32(b[payloadOffset:]))
	end := start + int(binary.LittleEndian.Uint32(b[payloadLength:]))
	if start >= end || end > len(b) {
		return "", fmt.Errorf("%s has no kernel in it", image)
	}
	payload := b[start : end-4] // the length of what is in it stands behind it
	var tool string
	for name, magic := range map[string]string{"xz": "\xfd7zXZ\x00", "zstd": "\x28\xb5\x2f\xfd", "gzip": "\x1f\x8b"} {
		if bytes.HasPrefix(payload, []byte(magic)) {
			tool = name
		}
	}
	if tool == "" {
		return "", fmt.Errorf("%s is compressed in a way that is not known here", image)
	}
	cmd := exec.Command(tool, "-dc")
	cmd.Stdin = bytes.NewReader(payload)
	kernel, err := cmd.Output()
	if !bytes.HasPrefix(kernel, []byte("\x7fELF")) {
		return "", errors.Join(fmt.Errorf("%s: what %s unpacks is no kernel", image, tool), err)
	}
	draft := fmt.Sprintf("%s.%d", to, os.Getpid())
	if err := os.WriteFile(draft, kernel, 0o644); err != nil {
		return "", err
	}
	return to, os.Rename(draft, to)
}
