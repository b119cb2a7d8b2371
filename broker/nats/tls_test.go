package nats_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/internal/servertest"
	"github.com/waybill-go/waybill/broker/nats"
)

func TestTheCertificatesOfBothSidesAreChecked(t *testing.T) {
	ca, other := servertest.NewAuthority(t, "ca"), servertest.NewAuthority(t, "other")
	cert, key := ca.Sign("broker.test")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	s := local(t, func(o *server.Options) {
		o.TLS, o.TLSVerify = true, true
		o.TLSTimeout = 5
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	})
	mine, mineKey := ca.Sign("client")
	foreign, foreignKey := other.Sign("client")
	files := "&cert=" + mine + "&key=" + mineKey
	caFile, otherFile := ca.File, other.File

	b := connect(t, "tls+nats://"+hostOf(s)+"?ca="+caFile+files, options{})
	b.sent("q", "a")
	connect(t, "tls+nats://"+hostOf(s)+"?server_name=broker.test&ca="+caFile+files, options{})
	connect(t, "tls+nats://"+hostOf(s), options{TLS: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{loaded(t, mine, mineKey)}}})

	for what, address := range map[string]string{
		"an authority that is not the server's": "?ca=" + otherFile + files,
		"the system's authorities":              "?" + files[1:],
		"another name":                          "?server_name=elsewhere.test&ca=" + caFile + files,
		"no certificate of its own":             "?ca=" + caFile,
		"a certificate of another authority":    "?ca=" + caFile + "&cert=" + foreign + "&key=" + foreignKey,
	} {
		t.Run(what, func(t *testing.T) {
			b, err := nats.New("tls+nats://"+hostOf(s)+address, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = b.Connect(t.Context())
			// The server's alert about a client's certificate may be lost with the connection.
			if clients := strings.Contains(what, "certificate"); err == nil || !clients && !errors.Is(err, broker.ErrRefused) {
				t.Errorf("Connect: %v; want ErrRefused", err)
			}
		})
	}
	plain := local(t, nil)
	if _, err := open(t, "tls+nats://"+hostOf(plain), options{}).Connect(t.Context()); !errors.Is(err, broker.ErrRefused) {
		t.Errorf("a server without TLS: %v; want ErrRefused", err)
	}
}

// loaded reads a certificate and its key.
func loaded(t testing.TB, cert, key string) tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}
