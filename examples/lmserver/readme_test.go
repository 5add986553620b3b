package main

import (
	"os"
	"strings"
	"testing"
)

// TestReadme holds the commands that README shows to those of the script, which
// is run before a change lands.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"roundtrip.sh", "online.sh"} {
		script, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, commands, found := strings.Cut(string(script), "# README: from here\n")
		commands, _, _ = strings.Cut(commands, "# README: to here")
		if !found || !strings.Contains(string(readme), "```sh\n"+commands+"```\n") {
			t.Errorf("README does not show, of %s:\n%s", name, commands)
		}
	}
}
