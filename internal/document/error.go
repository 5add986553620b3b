package document

import "fmt"

// Link names the part of a document's chain that an [Error] is about.
type Link string

// The links of a chain, from the outside in.
const (
	LinkEnvelope    Link = "envelope"              // not one of our files at all
	LinkOutside     Link = "outside"               // the file names another origin or recipient than the document inside
	LinkVersion     Link = "version"               // made by a newer program
	LinkEncoding    Link = "encoding"              // bytes that are not a document
	LinkContent     Link = "content"               // fields that contradict each other or their range
	LinkSeal        Link = "seal"                  // does not open with this computer's key, or was altered
	LinkVendor      Link = "vendor signature"      // pool license not signed by the trusted vendor key
	LinkFeatures    Link = "feature proof"         // a feature that is not in the vendor's signed list
	LinkBatch       Link = "inclusion proof"       // terms that are not in the signed batch
	LinkCheckpoint  Link = "key signature"         // batch not signed by the key the vendor certified
	LinkRecipient   Link = "recipient signature"   // return not signed by the license's recipient
	LinkFingerprint Link = "fingerprint signature" // fingerprint not signed by the key it names
	LinkPeer        Link = "manager signature"     // message between managers, not signed by who it names or about another request
)

// Error says which document, which link of its chain and why.
type Error struct {
	Document string
	Link     Link
	Reason   string
	Err      error // the cause, or nil
}

func (e *Error) Error() string {
	s := e.Document + ": " + string(e.Link) + ": " + e.Reason
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause, or nil.
func (e *Error) Unwrap() error { return e.Err }

func malformed(name, reason string) error {
	return &Error{Document: name, Link: LinkEncoding, Reason: reason}
}

func content(name, format string, args ...any) error {
	return &Error{Document: name, Link: LinkContent, Reason: fmt.Sprintf(format, args...)}
}

// unknownVersion refuses a version this program does not know, by name.
func unknownVersion(name string, got, known uint32) error {
	return &Error{Document: name, Link: LinkVersion, Reason: fmt.Sprintf("version %d, this program knows version %d", got, known)}
}
