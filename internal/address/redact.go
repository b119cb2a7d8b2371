package address

import "github.com/waybill-go/waybill/internal/redact"

// Redact returns an address of any kind with "xxxxx" for its password, and for each
// parameter that is called like a secret, for logs and errors. It also takes what is no
// valid URL, and hides too much rather than too little.
func Redact(addr string) string { return redact.Address(addr) }

// scrub returns the error's text without any password of addr.
func scrub(addr string, err error) string { return redact.Text(addr, err.Error()) }
