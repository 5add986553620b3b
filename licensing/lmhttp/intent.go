package lmhttp

import "github.com/sojournlm/sojourn/licensing"

// intent is an operation with another manager that is pending.
type intent struct {
	BeginTime int64  `json:"beginTime"`
	DeathTime int64  `json:"deathTime"` // the seats are home by themselves then
	DongleID  uint64 `json:"dongleId"`
	IntentID  uint64 `json:"intentId,string"`
	LicenseID uint64 `json:"licenseId,omitempty,string"` // of a cancel
	LMSID     uint64 `json:"lmsId,string"`               // of the manager it is with
	Operation string `json:"operation"`
	Problem   string `json:"problem,omitempty"`
}

func (c *call) listIntents() error {
	page, err := c.query.page()
	if err != nil {
		return err
	}
	list, err := c.manager.Intents(c.ctx, page)
	if err != nil {
		return err
	}
	writeList(c, "intents", list, func(i licensing.Intent) intent {
		operation := "detach"
		if i.LicenseID != 0 {
			operation = "canceldetach"
		}
		return intent{i.Begun.Unix(), i.Until.Unix(), i.Key, i.ID, i.LicenseID, i.Manager, operation, i.Problem}
	})
	return nil
}
