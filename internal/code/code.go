// Package code holds the status codes of the license manager API as error
// values, so that a caller can ask errors.Is(err, code.FeatureResourceExhaust).
package code

import "strconv"

// Code is a status code of the license manager API. It implements error: a
// Code other than OK is the sentinel that errors of this module wrap.
type Code uint32

// The status codes. Numbers 11 and above 60 are not assigned.
const (
	OK                              Code = 0
	InvalidHandle                   Code = 1
	FeatureNotFound                 Code = 2
	FeatureResourceExhaust          Code = 3
	InvalidFeature                  Code = 4
	InvalidSerialNumber             Code = 5
	InvalidLicense                  Code = 6
	LicenseNotActivated             Code = 7
	LicenseAlreadyActivated         Code = 8
	GetHardwareIDError              Code = 9
	NotEnoughHardwareToBind         Code = 10
	RequestFailed                   Code = 12
	GetResponseFailed               Code = 13
	ServerNotFound                  Code = 14
	IncorrectResponseData           Code = 15
	FileCreationError               Code = 16
	SerialNumberResourceExhausted   Code = 17
	NoUpdatesAvailable              Code = 18
	ActivationNotAvailable          Code = 19
	NoCustomerSpecified             Code = 20
	CanNotActivateNonDemoLicense    Code = 21
	OutdatedAPIVersion              Code = 22
	InvalidParameter                Code = 23
	BufferTooSmall                  Code = 24
	InternalError                   Code = 25
	LicenseIsBanned                 Code = 26
	NoLicenseAvailable              Code = 27
	FeatureRuncounterExhaust        Code = 28
	FeatureExpired                  Code = 29
	InvalidPublicKey                Code = 30
	NoService                       Code = 31
	ServiceMissingOrOutdated        Code = 32
	DongleNotFound                  Code = 33
	NoResultsFound                  Code = 34
	InvalidDigest                   Code = 35
	FeatureInactive                 Code = 36
	MemoryOutOfRange                Code = 37
	AccessDenied                    Code = 38
	NumberAttemptsExhausted         Code = 39
	SerialNumberNotFound            Code = 40
	InvalidMemory                   Code = 41
	VirtualEnvironmentDetected      Code = 42
	RemoteDesktopDetected           Code = 43
	OutdatedVersion                 Code = 44
	RehostIsNotAllowed              Code = 45
	StorageCorrupted                Code = 46
	StorageIDMismatch               Code = 47
	InvalidUpdateOrAlreadyInstalled Code = 48
	InvalidRehostData               Code = 49
	HardwareIDMismatch              Code = 50
	ReactivationIsNotAllowed        Code = 51
	RecipientHasTheSameLicense      Code = 52
	CanNotDetachSomeFeatures        Code = 53
	CancelPreviousDetachRequired    Code = 54
	DetachedLicenseExpired          Code = 55
	DetachedLicenseNotFound         Code = 56
	DetachForbidden                 Code = 57
	TrialLicenseExpired             Code = 58
	OperationIsNotAllowed           Code = 59
	RTCError                        Code = 60
)

var texts = map[Code]struct{ name, text string }{
	OK:                              {"OK", "done"},
	InvalidHandle:                   {"INVALID_HANDLE", "invalid handle"},
	FeatureNotFound:                 {"FEATURE_NOT_FOUND", "feature not found"},
	FeatureResourceExhaust:          {"FEATURE_RESOURCE_EXHAUST", "not enough seats in the pool"},
	InvalidFeature:                  {"INVALID_FEATURE", "invalid feature"},
	InvalidSerialNumber:             {"INVALID_SERIAL_NUMBER", "invalid serial number"},
	InvalidLicense:                  {"INVALID_LICENSE", "invalid license"},
	LicenseNotActivated:             {"LICENSE_NOT_ACTIVATED", "license is not activated"},
	LicenseAlreadyActivated:         {"LICENSE_ALREADY_ACTIVATED", "license is already activated"},
	GetHardwareIDError:              {"GET_HARDWARE_ID_ERROR", "hardware id cannot be read"},
	NotEnoughHardwareToBind:         {"NOT_ENOUGH_HARDWARE_TO_BIND", "not enough hardware to bind to"},
	RequestFailed:                   {"REQUEST_FAILED", "request failed"},
	GetResponseFailed:               {"GET_RESPONSE_FAILED", "outcome unknown"},
	ServerNotFound:                  {"SERVER_NOT_FOUND", "license manager not found"},
	IncorrectResponseData:           {"INCORRECT_RESPONSE_DATA", "incorrect response"},
	FileCreationError:               {"FILE_CREATION_ERROR", "file cannot be created"},
	SerialNumberResourceExhausted:   {"SERIAL_NUMBER_RESOURCE_EXHAUSTED", "serial number is used up"},
	NoUpdatesAvailable:              {"NO_UPDATES_AVAILABLE", "no updates available"},
	ActivationNotAvailable:          {"ACTIVATION_NOT_AVAILABLE", "activation is not available"},
	NoCustomerSpecified:             {"NO_CUSTOMER_SPECIFIED", "no customer specified"},
	CanNotActivateNonDemoLicense:    {"CAN_NOT_ACTIVATE_NON_DEMO_LICENSE", "only a demo license can be activated"},
	OutdatedAPIVersion:              {"OUTDATED_API_VERSION", "outdated API version"},
	InvalidParameter:                {"INVALID_PARAMETER", "invalid parameter"},
	BufferTooSmall:                  {"BUFFER_TOO_SMALL", "buffer too small"},
	InternalError:                   {"INTERNAL_ERROR", "internal error"},
	LicenseIsBanned:                 {"LICENSE_IS_BANNED", "license is banned"},
	NoLicenseAvailable:              {"NO_LICENSE_AVAILABLE", "no license available"},
	FeatureRuncounterExhaust:        {"FEATURE_RUNCOUNTER_EXHAUST", "no runs left"},
	FeatureExpired:                  {"FEATURE_EXPIRED", "feature has expired"},
	InvalidPublicKey:                {"INVALID_PUBLIC_KEY", "invalid public key"},
	NoService:                       {"NO_SERVICE", "key is not reachable"},
	ServiceMissingOrOutdated:        {"SERVICE_MISSING_OR_OUTDATED", "service is missing or outdated"},
	DongleNotFound:                  {"DONGLE_NOT_FOUND", "key not found"},
	NoResultsFound:                  {"NO_RESULTS_FOUND", "nothing found"},
	InvalidDigest:                   {"INVALID_DIGEST", "document does not verify"},
	FeatureInactive:                 {"FEATURE_INACTIVE", "feature is not active"},
	MemoryOutOfRange:                {"MEMORY_OUT_OF_RANGE", "memory out of range"},
	AccessDenied:                    {"ACCESS_DENIED", "access denied"},
	NumberAttemptsExhausted:         {"NUMBER_ATTEMPTS_EXHAUSTED", "no attempts left"},
	SerialNumberNotFound:            {"SERIAL_NUMBER_NOT_FOUND", "serial number not found"},
	InvalidMemory:                   {"INVALID_MEMORY", "invalid memory"},
	VirtualEnvironmentDetected:      {"VIRTUAL_ENVIRONMENT_DETECTED", "virtual machine detected"},
	RemoteDesktopDetected:           {"REMOTE_DESKTOP_DETECTED", "remote desktop detected"},
	OutdatedVersion:                 {"OUTDATED_VERSION", "outdated version"},
	RehostIsNotAllowed:              {"REHOST_IS_NOT_ALLOWED", "rehosting is not allowed"},
	StorageCorrupted:                {"STORAGE_CORRUPTED", "storage is damaged or was put back"},
	StorageIDMismatch:               {"STORAGE_ID_MISMATCH", "document is for a key that is not here"},
	InvalidUpdateOrAlreadyInstalled: {"INVALID_UPDATE_OR_ALREADY_INSTALLED", "already installed or no longer valid"},
	InvalidRehostData:               {"INVALID_REHOST_DATA", "invalid rehosting data"},
	HardwareIDMismatch:              {"HARDWARE_ID_MISMATCH", "document is for another computer"},
	ReactivationIsNotAllowed:        {"REACTIVATION_IS_NOT_ALLOWED", "reactivation is not allowed"},
	RecipientHasTheSameLicense:      {"RECIPIENT_HAS_THE_SAME_LICENSE", "recipient has the same license"},
	CanNotDetachSomeFeatures:        {"CAN_NOT_DETACH_SOME_FEATURES", "some features cannot be detached"},
	CancelPreviousDetachRequired:    {"CANCEL_PREVIOUS_DETACH_REQUIRED", "already detached to this computer"},
	DetachedLicenseExpired:          {"DETACHED_LICENSE_EXPIRED", "detached license has expired"},
	DetachedLicenseNotFound:         {"DETACHED_LICENSE_NOT_FOUND", "detached license not found"},
	DetachForbidden:                 {"DETACH_FORBIDDEN", "detaching is forbidden by policy"},
	TrialLicenseExpired:             {"TRIAL_LICENSE_EXPIRED", "trial license has expired"},
	OperationIsNotAllowed:           {"OPERATION_IS_NOT_ALLOWED", "operation is not allowed"},
	RTCError:                        {"RTC_ERROR", "clock is not believed"},
}

// Error is the code's meaning in words, such as "not enough seats in the pool".
func (c Code) Error() string {
	if t, ok := texts[c]; ok {
		return t.text
	}
	return "status " + strconv.FormatUint(uint64(c), 10)
}

// Name is the code's name in the API, such as FEATURE_RESOURCE_EXHAUST.
func (c Code) Name() string {
	if t, ok := texts[c]; ok {
		return t.name
	}
	return "STATUS_" + strconv.FormatUint(uint64(c), 10)
}
