package fingerprint

import (
	"errors"

	"golang.org/x/sys/windows/registry"
)

// machineID reads MachineGuid from the 64-bit view of the registry, which is
// the same for 32-bit and 64-bit programs.
func machineID() (string, error) {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `SOFTWARE\Microsoft\Cryptography`, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if errors.Is(err, registry.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer key.Close()
	id, _, err := key.GetStringValue("MachineGuid")
	if errors.Is(err, registry.ErrNotExist) {
		return "", nil
	}
	return id, err
}
