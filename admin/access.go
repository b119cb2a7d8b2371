package admin

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Role is what somebody may do.
type Role int

const (
	// Nobody may see only health, and the page to log in.
	Nobody Role = iota
	// ReadOnly may see everything that is shown.
	ReadOnly
	// Operator may also send messages again, discard them, and pause and resume destinations.
	Operator
)

// User is whom a request comes from. Name stands in the log of what was changed.
type User struct {
	Name string
	Role Role
}

// Names of users that several people may have.
const (
	localName    = "local"
	operatorName = "operator token"
	readerName   = "reader token"
)

// ClientCertificate is an Options.Authenticate by mutual TLS: role says what the owner of a
// verified certificate may do, Nobody where nothing. It lets in only requests whose
// certificate the server has verified (tls.Config.ClientAuth). The name is the subject's
// common name.
func ClientCertificate(role func(*x509.Certificate) Role) func(*http.Request) (User, bool) {
	return func(r *http.Request) (User, bool) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			return User{}, false
		}
		certificate := r.TLS.VerifiedChains[0][0]
		user := User{certificate.Subject.CommonName, role(certificate)}
		return user, user.Role != Nobody
	}
}

// ProxyHeader is an Options.Authenticate by a header that an authenticating proxy sets, such
// as X-Forwarded-User: role says what a user of that name may do, Nobody where nothing. Only
// requests that come from one of the proxies' addresses are let in, since others can write
// what they like into a header; the proxy has to drop the header from what it receives.
func ProxyHeader(header string, role func(user string) Role, proxies ...netip.Prefix) func(*http.Request) (User, bool) {
	return func(r *http.Request) (User, bool) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return User{}, false
		}
		for _, p := range proxies {
			values := r.Header.Values(header)
			if p.Contains(peer.Addr().Unmap()) && len(values) == 1 && values[0] != "" {
				user := User{values[0], role(values[0])}
				return user, user.Role != Nobody
			}
		}
		return User{}, false
	}
}

// IsLoopback reports whether an address to listen at, such as "127.0.0.1:8080" or
// "localhost:8080", can be reached from this machine alone.
func IsLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && isLoopbackHost(host)
}

func isLoopbackHost(host string) bool {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

// isLocal reports whether a request comes from this machine, to a loopback address, and asks
// for it by a name that only this machine has: a page of a foreign name that is made to lead
// here is none.
func isLocal(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if to, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && !IsLoopback(to.String()) {
		return false // such as a side-car's, which comes from a loopback address
	}
	return !isProxied(r) && IsLoopback(r.RemoteAddr) && isLoopbackHost(host)
}

// isProxied reports whether a proxy has brought a request here: it speaks HTTP/1.0, as no
// browser does and nginx does unless told otherwise, or has a header of a proxy's, whatever
// that says. Who asks can add such a header, and cannot take one away.
func isProxied(r *http.Request) bool {
	if !r.ProtoAtLeast(1, 1) {
		return true
	}
	for name := range r.Header {
		switch {
		case strings.HasPrefix(name, "X-Forwarded-"), strings.HasPrefix(name, "X-Envoy-"),
			name == "Forwarded", name == "Via", name == "X-Real-Ip", name == "X-Request-Id":
			return true
		}
	}
	return false
}

const (
	sessionCookie = "waybill_session"
	sessionTime   = 12 * time.Hour
	sessionsMost  = 1000
	tokenLength   = 16 // the least length of a token, in bytes
)

// access knows whom requests come from.
type access struct {
	o    *Options
	seal []byte // of the tokens in forms

	mu       sync.Mutex
	sessions map[[32]byte]session // by the hash of what the cookie holds
	wrongs   int                  // tokens that nobody has, since the log has told of them
	told     time.Time            // when it did
}

// wrongEvery is the least time between two lines of the log about wrong tokens.
const wrongEvery = 10 * time.Second

// wrong logs that somebody has tried a token that nobody has, with how many have been tried
// since the last such line: guessing is seen, and does not fill the log.
func (a *access) wrong(r *http.Request) {
	a.mu.Lock()
	a.wrongs++
	n, tells := a.wrongs, time.Since(a.told) >= wrongEvery
	if tells {
		a.wrongs, a.told = 0, time.Now()
	}
	a.mu.Unlock()
	if tells {
		a.o.Logger.WarnContext(r.Context(), "audit: wrong tokens were tried", slog.String("from", r.RemoteAddr), slog.Int("times", n))
	}
}

// session is one of a browser that has logged in with a token.
type session struct {
	user User
	ends time.Time
}

func newAccess(o *Options) *access {
	return &access{o: o, seal: []byte(rand.Text()), sessions: map[[32]byte]session{}}
}

// hasTokens says whether people can log in with a token.
func (a *access) hasTokens() bool { return a.o.OperatorToken != "" || a.o.ReaderToken != "" }

// user says whom a request comes from: Nobody where that is not known.
func (a *access) user(r *http.Request) User {
	user := a.unbounded(r)
	if a.o.ReadOnly {
		user.Role = min(user.Role, ReadOnly)
	}
	return user
}

func (a *access) unbounded(r *http.Request) User {
	if a.o.Authenticate != nil {
		if user, ok := a.o.Authenticate(r); ok {
			return user
		}
	}
	if a.hasTokens() {
		if token, is := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); is {
			user := a.byToken(token)
			if user.Role == Nobody {
				a.wrong(r)
			}
			return user
		}
		if cookie, err := r.Cookie(sessionCookie); err == nil {
			return a.bySession(cookie.Value)
		}
		return User{}
	}
	if a.o.Authenticate == nil && isLocal(r) {
		return User{localName, Operator}
	}
	return User{}
}

// byToken compares hashes, so that the time it takes tells nothing of a token.
func (a *access) byToken(token string) User {
	given := sha256.Sum256([]byte(token))
	for _, t := range []struct {
		token string
		user  User
	}{{a.o.OperatorToken, User{operatorName, Operator}}, {a.o.ReaderToken, User{readerName, ReadOnly}}} {
		want := sha256.Sum256([]byte(t.token))
		if t.token != "" && subtle.ConstantTimeCompare(given[:], want[:]) == 1 {
			return t.user
		}
	}
	return User{}
}

func (a *access) bySession(value string) User {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.sessions[sha256.Sum256([]byte(value))]
	if !ok || time.Now().After(s.ends) {
		return User{}
	}
	return s.user
}

// logIn begins a session.
func (a *access) logIn(w http.ResponseWriter, r *http.Request, user User) {
	value, now := rand.Text(), time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	var first [32]byte
	for key, s := range a.sessions {
		if now.After(s.ends) {
			delete(a.sessions, key)
		} else if oldest, ok := a.sessions[first]; !ok || s.ends.Before(oldest.ends) {
			first = key
		}
	}
	if len(a.sessions) >= sessionsMost {
		delete(a.sessions, first)
	}
	a.sessions[sha256.Sum256([]byte(value))] = session{user, now.Add(sessionTime)}
	// Without a Path the cookie is for what lies beside the page to log in: this handler,
	// below whatever prefix.
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where the page is
		Name: sessionCookie, Value: value, HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: int(sessionTime.Seconds()),
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	})
}

// logOut ends the session of a request.
func (a *access) logOut(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		a.mu.Lock()
		delete(a.sessions, sha256.Sum256([]byte(cookie.Value)))
		a.mu.Unlock()
	}
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil, MaxAge: -1}) //nolint:gosec // it holds nothing
}

// formToken is what a form of this user's has to send with it.
func (a *access) formToken(r *http.Request, user User) string {
	mac := hmac.New(sha256.New, a.seal)
	mac.Write([]byte(user.Name))
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		mac.Write([]byte("\x00" + cookie.Value))
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// mayChange reports whether a request that changes something is meant by its user: a form has
// the form's token, and what a program sends is JSON, which no form of a foreign page can send.
func (a *access) mayChange(r *http.Request, user User) bool {
	if isJSON(r) {
		return true
	}
	if r.ParseForm() != nil {
		return false // what cannot be read may have said which messages are meant
	}
	given := r.PostFormValue("form_token")
	return hmac.Equal([]byte(given), []byte(a.formToken(r, user)))
}

func isJSON(r *http.Request) bool {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(media), "application/json")
}
