package fingerprint

import (
	"encoding/hex"
	"unsafe"

	"golang.org/x/sys/unix"
)

// machineID asks the kernel for the host's UUID, the IOPlatformUUID. The sysctl
// kern.uuid would not do: it names the kernel's build, which many computers
// share.
func machineID() (string, error) {
	var id [16]byte
	wait := unix.Timespec{Sec: 1} // zero would wait for ever
	_, _, errno := unix.Syscall(unix.SYS_GETHOSTUUID, uintptr(unsafe.Pointer(&id[0])), uintptr(unsafe.Pointer(&wait)), 0)
	if errno != 0 {
		return "", errno
	}
	return hex.EncodeToString(id[:]), nil
}
