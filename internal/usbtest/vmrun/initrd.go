//go:build linux

package main

import (
	"bufio"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// Where things lie in the machine.
const (
	programPath   = "/program"
	argumentsPath = "/arguments" // separated by zero bytes
	modulesPath   = "/modules"   // with a file "list" of their names
	workPath      = "/work"      // the program's directory
	toolsPath     = "/bin"       // what -add adds
)

// pack writes the machine's file system: an initramfs.
func (m *machine) pack(to string) error {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	a := &archive{w: bufio.NewWriterSize(f, 1<<20), dirs: map[string]bool{}}
	for _, d := range []string{"dev", "proc", "sys", "tmp", "run", "var", outDir, workPath, modulesPath} {
		a.dir(d)
	}
	a.copy("/init", "/proc/self/exe")
	a.copy(programPath, m.args[0])
	a.libraries(m.args[0])
	a.file(argumentsPath, 0o644, []byte(strings.Join(m.args[1:], "\x00")))
	for _, name := range m.extra {
		a.copy(path.Join(toolsPath, filepath.Base(name)), name)
		a.libraries(name)
	}
	a.testdata()
	a.modules(m)
	return a.close()
}

// modules adds the kernel's modules, unpacked, and their list.
func (a *archive) modules(m *machine) {
	names := m.modules
	if m.gadget {
		names = append(names[:len(names):len(names)], gadgetModules...)
	}
	var list []string
	for _, name := range names {
		from := filepath.Join(m.kernel, "lib/modules", m.version, "kernel", name+".ko")
		b, err := os.ReadFile(from)
		if err != nil {
			b, err = exec.Command("xz", "-dc", from+".xz").Output()
		}
		if err != nil {
			a.fail(fmt.Errorf("kernel module %s: %w", from, err))
			return
		}
		list = append(list, path.Base(name)+".ko")
		a.file(path.Join(modulesPath, path.Base(name)+".ko"), 0o644, b)
	}
	a.file(path.Join(modulesPath, "list"), 0o644, []byte(strings.Join(list, "\n")))
}

// testdata adds what a test expects beside it: go test starts it there.
func (a *archive) testdata() {
	a.fail(filepath.WalkDir("testdata", func(name string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil && d.Type().IsRegular() {
			a.copy(path.Join(workPath, name), name)
		}
		return err
	}))
}

var absolute = regexp.MustCompile(`/[^\s)]+`)

// libraries adds the shared libraries that a program needs.
func (a *archive) libraries(program string) {
	binary, err := elf.Open(program)
	if err != nil {
		a.fail(err)
		return
	}
	defer binary.Close()
	if needed, _ := binary.ImportedLibraries(); len(needed) == 0 {
		return
	}
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		a.fail(fmt.Errorf("ldd %s: %w", program, err))
		return
	}
	for _, name := range absolute.FindAllString(string(out), -1) {
		if !a.dirs[name] {
			a.dirs[name] = true
			a.copy(name, name)
		}
	}
}

// archive is a cpio archive in the kernel's format, "newc".
type archive struct {
	w     *bufio.Writer
	inode int
	dirs  map[string]bool // what is there already
	err   error           // the first
}

func (a *archive) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

func (a *archive) entry(name string, mode int, content []byte) {
	a.inode++
	pad := func(n int) string { return "\x00\x00\x00"[:(4-n%4)%4] }
	head := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	a.w.WriteString(head + pad(len(head)))
	a.w.Write(content)
	a.w.WriteString(pad(len(content)))
}

func (a *archive) dir(name string) {
	name = strings.Trim(name, "/")
	if name == "" || name == "." || a.dirs[name] {
		return
	}
	a.dir(path.Dir(name))
	a.dirs[name] = true
	a.entry(name, 0o040755, nil)
}

func (a *archive) file(name string, mode int, content []byte) {
	name = strings.Trim(name, "/")
	a.dir(path.Dir(name))
	a.entry(name, 0o100000|mode, content)
}

func (a *archive) copy(name, from string) {
	b, err := os.ReadFile(from)
	if err != nil {
		a.fail(err)
		return
	}
	a.file(name, 0o755, b)
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil)
	a.fail(a.w.Flush())
	return a.err
}
