//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// outDir is where a program in the machine writes what is brought back.
const outDir = "/out"

// redirect lets a test write its profiles to outDir, and tells where they belong.
func redirect(args []string) map[string]string {
	files := map[string]string{}
	for i, a := range args {
		name, value, ok := strings.Cut(a, "=")
		switch {
		case !ok:
		case name == "-test.coverprofile" || name == "-test.cpuprofile" || name == "-test.memprofile" || name == "-test.mutexprofile":
			inside := filepath.Join(outDir, filepath.Base(value))
			files[inside] = value
			args[i] = name + "=" + inside
		case name == "-test.testlogfile" || name == "-test.gocoverdir":
			args[i] = name + "=/tmp" // there is nobody who would read them
			if name == "-test.testlogfile" {
				args[i] += "/log"
			}
		}
	}
	return files
}

// bringBack writes the files that came over the second serial line, each after a
// line with its name and length.
func bringBack(from string, files map[string]string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	for len(b) > 0 {
		head, rest, ok := bytes.Cut(b, []byte("\n"))
		var name string
		var n int
		if _, err := fmt.Sscanf(string(head), "%s %d", &name, &n); err != nil || !ok || n < 0 || n > len(rest) {
			return errors.New("the machine's files came back damaged")
		}
		if to := files[name]; to != "" {
			if err := os.WriteFile(to, rest[:n], 0o644); err != nil {
				return err
			}
		}
		b = rest[n:]
	}
	return nil
}
