package dial

import (
	"crypto/tls"
	"strings"
	"testing"
)

func TestAddressesAreTakenApart(t *testing.T) {
	schemes := map[string]Scheme{"x": {Port: "1"}, "x+tls": {Port: "2", TLS: true}}
	for address, want := range map[string]Target{
		"x://h":                           {Host: "h", Address: "h:1"},
		"x+tls://h":                       {Host: "h", Address: "h:2"},
		"x://h:3/":                        {Host: "h", Address: "h:3"},
		"x://[::1]:3":                     {Host: "::1", Address: "[::1]:3"},
		"x://u@h":                         {Host: "h", Address: "h:1", User: "u", HasUser: true},
		"x://u:p%40s%3Aw%2Fd%23%25@h?k=v": {Host: "h", Address: "h:1", User: "u", Password: "p@s:w/d#%", HasUser: true},
	} {
		t.Run(address, func(t *testing.T) {
			got, err := Parse(address, schemes, nil, "k")
			if err != nil {
				t.Fatalf("Parse: %v; want no error", err)
			}
			if got.Host != want.Host || got.Address != want.Address || got.User != want.User || got.Password != want.Password || got.HasUser != want.HasUser {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if tls := strings.HasPrefix(address, "x+tls"); (got.TLS != nil) != tls {
				t.Errorf("TLS is %v, want %v", got.TLS != nil, tls)
			}
		})
	}
}

func TestNoErrorAboutAnAddressShowsThePassword(t *testing.T) {
	schemes := map[string]Scheme{"x": {Port: "1"}, "x+tls": {Port: "2", TLS: true}}
	for _, address := range []string{
		"", "h", "://h", "y://u:s3cret@h", "x://", "x:opaque", "x://u:s3cret@h/path", "x://u:s3cret#@h", "x://u:s3cret@h:port", "x://u:s3cr%et@h",
		"x://u:s3cret@h?unknown=1", "x://u:s3cret@h?ca=1", "x+tls://u:s3cret@h?ca=/nowhere", "x+tls://u:s3cret@h?cert=1", "x://u:s3cret@h?%zz",
	} {
		t.Run(address, func(t *testing.T) {
			if _, err := Parse(address, schemes, nil, "k"); err == nil || strings.Contains(err.Error(), "s3cr") {
				t.Errorf("Parse: %v; want an error without the password", err)
			}
		})
	}
}

func TestTheAddressGoesBeforeTheCallersTLS(t *testing.T) {
	base := &tls.Config{ServerName: "base", MinVersion: tls.VersionTLS13}
	schemes := map[string]Scheme{"x": {TLS: true}}
	for address, want := range map[string]string{"x://h": "base", "x://h?server_name=n": "n"} {
		t.Run(address, func(t *testing.T) {
			target, err := Parse(address, schemes, base)
			if err != nil {
				t.Fatal(err)
			}
			config, err := target.TLS()
			if err != nil || config.ServerName != want || config.MinVersion != tls.VersionTLS13 {
				t.Errorf("got the name %q, version %x, error %v; want %q with version 1.3", config.ServerName, config.MinVersion, err, want)
			}
		})
	}
	if base.ServerName != "base" {
		t.Errorf("the caller's configuration has the name %q, want base as before", base.ServerName)
	}
}

func TestAPasswordIsRemovedFromWhatABrokerSays(t *testing.T) {
	target := &Target{Password: "open-sesame"}
	if got := target.Redact("User x, password open-sesame: no"); got != "User x, password ***: no" {
		t.Errorf("got %q, want the password replaced", got)
	}
	target.Password = "no"
	if got := target.Redact("no such user"); got != "no such user" {
		t.Errorf("got %q, want it as it was: so short a password may be a part of other words", got)
	}
}
