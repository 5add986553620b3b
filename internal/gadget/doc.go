// Package gadget is the body of a license key on USB: descriptors, endpoints and
// packets, as the page of package device describes them, around any key that
// exchanges frames. [Assembler] and [Packets] hold the rules for packets alone,
// for a board whose hardware has the endpoints. [Device] has endpoints too: it
// takes and completes URBs, USB's unit of work between a computer and a device,
// just as a device at the end of a cable would, and has hands for what goes
// wrong there.
package gadget
