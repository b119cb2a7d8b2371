package nats_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/waybill-go/waybill/broker"
	"github.com/waybill-go/waybill/broker/nats"
)

// authority signs certificates and writes them to files.
type authority struct {
	testing.TB
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{TB: t, dir: t.TempDir()}
	a.sign(name, true)
	return a
}

// sign makes a certificate, the authority's own first, and returns its files.
func (a *authority) sign(name string, ca bool) (cert, key string) {
	a.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{name}, IPAddresses: []net.IP{net.ParseIP("127.0.0.1")},
	}
	if ca {
		a.key, a.cert = private, template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		a.Fatal(err)
	}
	if ca {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.Fatal(err)
		}
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.Fatal(err)
	}
	write := func(file, kind string, der []byte) string {
		path := filepath.Join(a.dir, file)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			a.Fatal(err)
		}
		return path
	}
	return write(name+".pem", "CERTIFICATE", der), write(name+".key", "PRIVATE KEY", pkcs)
}

func TestTLS(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	cert, key := ca.sign("broker.test", false)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	s := local(t, func(o *server.Options) {
		o.TLS, o.TLSVerify = true, true
		o.TLSTimeout = 5
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	})
	mine, mineKey := ca.sign("client", false)
	foreign, foreignKey := other.sign("client", false)
	files := "&cert=" + mine + "&key=" + mineKey
	caFile, otherFile := filepath.Join(ca.dir, "ca.pem"), filepath.Join(other.dir, "other.pem")

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
		b, err := nats.New("tls+nats://"+hostOf(s)+address, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Connect(t.Context())
		// The server's word on a client's certificate may get lost with the connection.
		if clients := strings.Contains(what, "certificate"); err == nil || !clients && !errors.Is(err, broker.ErrRefused) {
			t.Errorf("with %s: %v; want ErrRefused", what, err)
		}
	}
	plain := local(t, nil)
	if _, err := open(t, "tls+nats://"+hostOf(plain), options{}).Connect(t.Context()); !errors.Is(err, broker.ErrRefused) {
		t.Errorf("a server without TLS: %v; want ErrRefused", err)
	}
}

func loaded(t testing.TB, cert, key string) tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}
