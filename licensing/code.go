package licensing

import "github.com/sojournlm/sojourn/internal/code"

// Code is a status code of the license manager API. It implements error, so
// errors.Is(err, licensing.FeatureResourceExhaust) works; Error gives its
// meaning in words and Name its name in the API.
type Code = code.Code

// The status codes. The documentation of each operation says which it answers.
const (
	OK                              = code.OK
	InvalidHandle                   = code.InvalidHandle
	FeatureNotFound                 = code.FeatureNotFound
	FeatureResourceExhaust          = code.FeatureResourceExhaust
	InvalidFeature                  = code.InvalidFeature
	InvalidSerialNumber             = code.InvalidSerialNumber
	InvalidLicense                  = code.InvalidLicense
	LicenseNotActivated             = code.LicenseNotActivated
	LicenseAlreadyActivated         = code.LicenseAlreadyActivated
	GetHardwareIDError              = code.GetHardwareIDError
	NotEnoughHardwareToBind         = code.NotEnoughHardwareToBind
	RequestFailed                   = code.RequestFailed
	GetResponseFailed               = code.GetResponseFailed
	ServerNotFound                  = code.ServerNotFound
	IncorrectResponseData           = code.IncorrectResponseData
	FileCreationError               = code.FileCreationError
	SerialNumberResourceExhausted   = code.SerialNumberResourceExhausted
	NoUpdatesAvailable              = code.NoUpdatesAvailable
	ActivationNotAvailable          = code.ActivationNotAvailable
	NoCustomerSpecified             = code.NoCustomerSpecified
	CanNotActivateNonDemoLicense    = code.CanNotActivateNonDemoLicense
	OutdatedAPIVersion              = code.OutdatedAPIVersion
	InvalidParameter                = code.InvalidParameter
	BufferTooSmall                  = code.BufferTooSmall
	InternalError                   = code.InternalError
	LicenseIsBanned                 = code.LicenseIsBanned
	NoLicenseAvailable              = code.NoLicenseAvailable
	FeatureRuncounterExhaust        = code.FeatureRuncounterExhaust
	FeatureExpired                  = code.FeatureExpired
	InvalidPublicKey                = code.InvalidPublicKey
	NoService                       = code.NoService
	ServiceMissingOrOutdated        = code.ServiceMissingOrOutdated
	DongleNotFound                  = code.DongleNotFound
	NoResultsFound                  = code.NoResultsFound
	InvalidDigest                   = code.InvalidDigest
	FeatureInactive                 = code.FeatureInactive
	MemoryOutOfRange                = code.MemoryOutOfRange
	AccessDenied                    = code.AccessDenied
	NumberAttemptsExhausted         = code.NumberAttemptsExhausted
	SerialNumberNotFound            = code.SerialNumberNotFound
	InvalidMemory                   = code.InvalidMemory
	VirtualEnvironmentDetected      = code.VirtualEnvironmentDetected
	RemoteDesktopDetected           = code.RemoteDesktopDetected
	OutdatedVersion                 = code.OutdatedVersion
	RehostIsNotAllowed              = code.RehostIsNotAllowed
	StorageCorrupted                = code.StorageCorrupted
	StorageIDMismatch               = code.StorageIDMismatch
	InvalidUpdateOrAlreadyInstalled = code.InvalidUpdateOrAlreadyInstalled
	InvalidRehostData               = code.InvalidRehostData
	HardwareIDMismatch              = code.HardwareIDMismatch
	ReactivationIsNotAllowed        = code.ReactivationIsNotAllowed
	RecipientHasTheSameLicense      = code.RecipientHasTheSameLicense
	CanNotDetachSomeFeatures        = code.CanNotDetachSomeFeatures
	CancelPreviousDetachRequired    = code.CancelPreviousDetachRequired
	DetachedLicenseExpired          = code.DetachedLicenseExpired
	DetachedLicenseNotFound         = code.DetachedLicenseNotFound
	DetachForbidden                 = code.DetachForbidden
	TrialLicenseExpired             = code.TrialLicenseExpired
	OperationIsNotAllowed           = code.OperationIsNotAllowed
	RTCError                        = code.RTCError
)

// PublicCodeText gives a vendor's public code in its text form: seven
// characters such as DEMONVK for 1368487351.
func PublicCodeText(publicCode uint32) string { return code.PublicCodeText(publicCode) }

// ParsePublicCodeText reads the text form back. It refuses a text whose
// checksum character does not fit.
func ParsePublicCodeText(text string) (uint32, error) { return code.ParsePublicCodeText(text) }
