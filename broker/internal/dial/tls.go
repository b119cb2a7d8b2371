package dial

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/waybill-go/waybill/broker"
)

// tlsParameters are the parameters of an address that TLS reads.
var tlsParameters = map[string]bool{"ca": true, "cert": true, "key": true, "server_name": true}

// TLS checks the parameters of an address that have to do with TLS, and returns a function
// that makes the configuration of a connection:
//
//	ca           file of PEM certificates to trust; without it, the system's authorities
//	cert, key    files of the client's own certificate and key, in PEM
//	server_name  the name that the broker's certificate must have, in place of host
//
// The files are read for each connection, so that certificates can be renewed while a
// program runs. base is the caller's own configuration, or nil; what the address says goes
// before it.
func TLS(query url.Values, host string, base *tls.Config) (func() (*tls.Config, error), error) {
	if (query.Get("cert") == "") != (query.Get("key") == "") {
		return nil, errors.New("the parameters cert and key go together")
	}
	load := func() (*tls.Config, error) {
		config := &tls.Config{}
		if base != nil {
			config = base.Clone()
		}
		if name := query.Get("server_name"); name != "" {
			config.ServerName = name
		} else if config.ServerName == "" {
			config.ServerName = host
		}
		if file := query.Get("ca"); file != "" {
			pem, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("read the parameter ca: %w", err)
			}
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("the file %s has no PEM certificate", file)
			}
		}
		if query.Get("cert") != "" {
			pair, err := tls.LoadX509KeyPair(query.Get("cert"), query.Get("key"))
			if err != nil {
				return nil, fmt.Errorf("read the parameters cert and key: %w", err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		return config, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	return load, nil
}

// Refused wraps err so that it matches broker.ErrRefused where a certificate or the TLS
// handshake is at fault, and returns any other err as it is. Call it for the first read
// after the handshake too: with TLS 1.3, a broker that refuses the client's certificate
// says so only then.
func Refused(err error) error {
	var (
		verify *tls.CertificateVerificationError
		header tls.RecordHeaderError
		alert  tls.AlertError
	)
	if errors.As(err, &verify) || errors.As(err, &header) || errors.As(err, &alert) {
		return fmt.Errorf("%w: %w", broker.ErrRefused, err)
	}
	return err
}
