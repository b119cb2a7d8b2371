package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/waybill-go/waybill/admin"
)

const consoleHelp = `The page shows what waits and why, rejected messages by reason, and any message whole,
sends rejected ones again, and pauses destinations. It lets in requests of this machine alone,
unless a token, the certificates of its users or a proxy that knows them say who else may come in:

  --http-token-file         a file with a token; who logs in with it, or sends it as
                            "Authorization: Bearer …", may do everything (WAYBILL_HTTP_TOKEN)
  --http-reader-token-file  likewise, for looking only (WAYBILL_HTTP_READER_TOKEN)
  --http-client-ca          with --http-cert and --http-key: certificates that these have signed
  --http-user-header        with --http-proxies: the user's name, in a header of that name

Those of the last two may look; --http-operators names those that may change something.`

// consoleFlags say where and to whom the page is served.
type consoleFlags struct {
	addrs                           []string
	tokenFile, readerTokenFile      string
	cert, key, clientCA, userHeader string
	proxies, operators              []string
	readOnly, hideBodies            bool
}

func (f *consoleFlags) register(cmd *cobra.Command, addrs []string, about string) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.addrs, "http", addrs, about)
	flags.StringVar(&f.tokenFile, "http-token-file", "", "`file` with the token of those who may do everything at the page (WAYBILL_HTTP_TOKEN)")
	flags.StringVar(&f.readerTokenFile, "http-reader-token-file", "", "`file` with the token of those who may look (WAYBILL_HTTP_READER_TOKEN)")
	flags.StringVar(&f.cert, "http-cert", "", "`file` with the certificate of --http, for TLS")
	flags.StringVar(&f.key, "http-key", "", "`file` with its key")
	flags.StringVar(&f.clientCA, "http-client-ca", "", "`file` with the authorities whose certificates let users in")
	flags.StringVar(&f.userHeader, "http-user-header", "", "`header` in which a proxy names the user, such as X-Forwarded-User")
	flags.StringSliceVar(&f.proxies, "http-proxies", nil, "`addresses` of the proxies whose header counts, such as 10.0.0.0/8")
	flags.StringSliceVar(&f.operators, "http-operators", nil, "`names` of users, of certificates or the proxy, that may do everything; others may look")
	flags.BoolVar(&f.readOnly, "http-read-only", false, "nobody may change anything at the page")
	flags.BoolVar(&f.hideBodies, "http-hide-bodies", false, "the page shows no bodies")
	cmd.MarkFlagsRequiredTogether("http-cert", "http-key")
	cmd.MarkFlagsRequiredTogether("http-user-header", "http-proxies")
}

// options checks the flags, and reads the tokens.
func (f *consoleFlags) options() (*admin.Options, error) {
	o := &admin.Options{Version: number(), ReadOnly: f.readOnly, HideBodies: f.hideBodies, Logger: slog.Default()}
	var err error
	if o.OperatorToken, err = token(f.tokenFile, "WAYBILL_HTTP_TOKEN"); err != nil {
		return nil, err
	}
	if o.ReaderToken, err = token(f.readerTokenFile, "WAYBILL_HTTP_READER_TOKEN"); err != nil {
		return nil, err
	}
	if f.clientCA != "" && f.cert == "" {
		return nil, usagef("--http-client-ca needs --http-cert and --http-key")
	}
	var known []func(*http.Request) (admin.User, bool)
	if f.clientCA != "" {
		known = append(known, admin.ClientCertificate(func(c *x509.Certificate) admin.Role { return f.role(c.Subject.CommonName) }))
	}
	if f.userHeader != "" {
		proxies, err := prefixes(f.proxies)
		if err != nil {
			return nil, err
		}
		known = append(known, admin.ProxyHeader(f.userHeader, f.role, proxies...))
	}
	if len(known) > 0 {
		o.Authenticate = func(r *http.Request) (admin.User, bool) {
			for _, ask := range known {
				if user, ok := ask(r); ok {
					return user, true
				}
			}
			return admin.User{}, false
		}
	}
	return o, nil
}

// isOpen reports whether others than this machine's own users can reach the page, and nothing
// says who of them may come in.
func (f *consoleFlags) isOpen(o *admin.Options) bool {
	return o.Authenticate == nil && o.OperatorToken == "" && o.ReaderToken == "" &&
		slices.ContainsFunc(f.addrs, func(addr string) bool { return !admin.IsLoopback(addr) })
}

func (f *consoleFlags) role(user string) admin.Role {
	// A certificate may name nobody, and "--http-operators ann," names nobody, too.
	if user != "" && slices.Contains(f.operators, user) {
		return admin.Operator
	}
	return admin.ReadOnly
}

// serve serves the page of one database while its relay or inbox runs, with what figures, if
// it is not nil, makes beside it. stop ends that.
func (f *consoleFlags) serve(ctx context.Context, d admin.Database, figures func(*admin.Options) http.Handler) (stop func(), err error) {
	if len(f.addrs) == 0 {
		return func() {}, nil
	}
	o, err := f.options()
	if err != nil {
		return nil, err
	}
	secure, err := f.tls()
	if err != nil {
		return nil, err
	}
	console, err := admin.NewConsole(o, d)
	if err != nil {
		return nil, usage(err)
	}
	listeners, err := listen(ctx, f.addrs)
	if err != nil {
		console.Close()
		return nil, err
	}
	if f.isOpen(o) {
		slog.InfoContext(ctx, "the page is for this machine alone, since nothing says who else may come in: see --http-token-file")
	}
	mux := http.NewServeMux()
	mux.Handle("/", console)
	if figures != nil {
		handler := figures(o)
		for _, path := range []string{"/healthz", "/readyz", "/metrics", "/stats"} {
			mux.Handle(path, handler)
		}
	}
	// Health is served until all has stopped, also while it drains.
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	var server sync.WaitGroup
	server.Go(func() { serve(serving, listeners, secure, mux, console.Close) })
	return func() {
		end()
		server.Wait()
	}, nil
}

// token reads a token from a file or a variable; "" where there is neither.
func token(file, variable string) (string, error) {
	text := os.Getenv(variable)
	if file != "" {
		whole, err := os.ReadFile(file)
		if err != nil {
			return "", usage(fmt.Errorf("read a token: %w", err))
		}
		if text = strings.TrimSpace(string(whole)); text == "" {
			return "", usagef("the file %s holds no token", file)
		}
	}
	return text, nil
}

func prefixes(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if ip, ipErr := netip.ParseAddr(text); ipErr == nil {
			p, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			return nil, usagef("--http-proxies %.60q is no address, such as 10.0.0.7 or 10.0.0.0/8", text)
		}
		all = append(all, p)
	}
	return all, nil
}

// tls is the configuration of --http; nil for plain HTTP.
func (f *consoleFlags) tls() (*tls.Config, error) {
	if f.cert == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, usage(fmt.Errorf("--http-cert: %w", err))
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if f.clientCA != "" {
		text, err := os.ReadFile(f.clientCA)
		if err != nil {
			return nil, usage(fmt.Errorf("--http-client-ca: %w", err))
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(text) {
			return nil, usage(errors.New("--http-client-ca: there is no certificate in PEM in the file"))
		}
		// Who has none may still ask for health.
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return config, nil
}
