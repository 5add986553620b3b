package lmhttp

import (
	"time"

	"github.com/sojournlm/sojourn/licensing"
)

// vendor is a vendor's public code, as a number and as text.
type vendor struct {
	PublicCode     uint32 `json:"publicCode"`
	PublicCodeText string `json:"publicCodeText"`
}

func showVendor(publicCode uint32) vendor {
	return vendor{publicCode, licensing.PublicCodeText(publicCode)}
}

// feature is a feature of a key, or the copy of one inside a detached license.
type feature struct {
	ConsumptionMode        uint32       `json:"consumptionMode"`
	CurrentRunCounterValue uint32       `json:"currentRunCounterValue"`
	DetachedResource       uint32       `json:"detachedResource"`
	DongleID               uint64       `json:"dongleId"`
	FeatureNumber          uint32       `json:"featureNumber"`
	Flags                  featureFlags `json:"flags"`
	FloatingResource       uint32       `json:"floatingResource"`
	MaxConcurrentResource  uint32       `json:"maxConcurrentResource"`
	MaxRunCounter          uint32       `json:"maxRunCounter"`
	Name                   string       `json:"name"`
	ProductModification    uint32       `json:"productModification"`
	ProductName            string       `json:"productName"`
	ProductNumber          uint32       `json:"productNumber"`
	RemoteMode             uint32       `json:"remoteMode"`
	ReservedResource       uint32       `json:"reservedResource"`
	RestOfLifeTimeDays     uint32       `json:"restOfLifeTimeDays"`
	SessionsCount          uint32       `json:"sessionsCount"`
	ValidFromDate          int64        `json:"validFromDate"`
	ValidUpToDate          int64        `json:"validUpToDate"`
	Vendor                 vendor       `json:"vendor"`
}

type featureFlags struct {
	CancelDetachRequired bool  `json:"cancelDetachRequired"`
	Expired              bool  `json:"expired"`
	IsDetachAllowed      bool  `json:"isDetachAllowed"`
	IsDetachable         bool  `json:"isDetachable"`
	RDPForbidden         bool  `json:"rdpForbidden"`
	Remote               *bool `json:"remote,omitempty"` // of a feature that a program here can use
	VMForbidden          bool  `json:"vmForbidden"`
}

// showFeature shows the copy of a feature inside a detached license.
func showFeature(f licensing.Feature) feature {
	return feature{
		ConsumptionMode: f.ConsumptionMode, DetachedResource: f.Detached, DongleID: f.Key,
		FeatureNumber: f.Number, FloatingResource: f.Free, MaxConcurrentResource: f.Max, MaxRunCounter: f.MaxRuns,
		Name: f.Name, ProductModification: f.Modification, ProductName: f.ProductName, ProductNumber: f.ProductNumber,
		RemoteMode: f.RemoteMode, RestOfLifeTimeDays: f.DaysLeft,
		ValidFromDate: unix(f.ValidFrom), ValidUpToDate: unix(f.ValidUpTo), Vendor: showVendor(f.Vendor),
		Flags: featureFlags{
			CancelDetachRequired: f.CancelRequired, Expired: f.Expired, IsDetachAllowed: f.DetachAllowed,
			IsDetachable: f.Detachable, RDPForbidden: f.RDPForbidden, VMForbidden: f.VMForbidden,
		},
	}
}

// showUsableFeature shows a feature of a key or of an installed license.
func showUsableFeature(f licensing.Feature) feature {
	out := showFeature(f)
	out.Flags.Remote = new(f.Remote)
	return out
}

// unix is a time in seconds, 0 for none.
func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// product is a product with the features that are to be shown of it.
type product struct {
	DongleID      uint64    `json:"dongleId"`
	Features      []feature `json:"features"`
	Modification  uint32    `json:"modification"`
	Name          string    `json:"name"`
	ProductNumber uint32    `json:"productNumber"`
	Vendor        vendor    `json:"vendor"`
}

// addFeature puts a feature into its product, which is the last one or a new
// one: features come in the order of their products.
func addFeature(products []product, f licensing.Feature, shown feature) []product {
	last := len(products) - 1
	if last < 0 || products[last].ProductNumber != f.ProductNumber || products[last].Modification != f.Modification {
		products = append(products, product{
			DongleID: f.Key, Modification: f.Modification, Name: f.ProductName, ProductNumber: f.ProductNumber,
			Vendor: showVendor(f.Vendor),
		})
		last++
	}
	products[last].Features = append(products[last].Features, shown)
	return products
}

// dongle is a key, or a license installed here, which shows as a software key.
type dongle struct {
	ContainerActivationTime int64       `json:"containerActivationTime"` // of a software key
	ContainerVersionText    string      `json:"containerVersionText"`    // of a software key
	DongleID                uint64      `json:"dongleId"`
	DongleModel             uint8       `json:"dongleModel"`
	DriverType              uint8       `json:"driverType"`
	FirmwareVersionText     string      `json:"firmwareVersionText"` // of a hardware key
	Flags                   dongleFlags `json:"flags"`
	LMSID                   uint64      `json:"lmsId,omitempty,string"` // of the manager that has a remote key
	ManufacturedDate        int64       `json:"manufacturedDate"`       // of a hardware key
	ProductsCount           int         `json:"productsCount"`
	SessionsCount           int         `json:"sessionsCount"`
	Vendor                  vendor      `json:"vendor"`
}

type dongleFlags struct {
	BindHardware                      bool `json:"bindHardware"`
	BindOS                            bool `json:"bindOs"`
	Driverless                        bool `json:"driverless"`
	Expired                           bool `json:"expired"`
	ExternalMicroSD                   bool `json:"externalMicroSd"`
	HardwareMismatchedOrFileCorrupted bool `json:"hardwareMismatchedOrFileCorrupted"`
	Inaccessible                      bool `json:"inaccessible"`
	LowBattery                        bool `json:"lowBattery"`
	Remote                            bool `json:"remote"`
	TimerError                        bool `json:"timerError"`
}

// containerVersion is the version of the documents that an installed license is
// made of.
const containerVersion = "1"

func showDongle(k licensing.Key) dongle {
	software := k.Model == licensing.ModelDL
	out := dongle{
		DongleID: k.ID, DongleModel: uint8(k.Model), ProductsCount: k.Products, Vendor: showVendor(k.Vendor),
		ContainerActivationTime: unix(k.Installed), FirmwareVersionText: k.Firmware, LMSID: k.Manager, ManufacturedDate: unix(k.Manufactured),
		Flags: dongleFlags{
			BindHardware: software, Expired: k.Expired, Inaccessible: k.Inaccessible,
			HardwareMismatchedOrFileCorrupted: k.Problem != "", Remote: k.Remote,
		},
	}
	if software {
		out.ContainerVersionText = containerVersion
	}
	return out
}
