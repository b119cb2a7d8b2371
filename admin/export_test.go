package admin

import "time"

// Route is what tests know of a route.
type Route struct {
	Method, Pattern string
	Need            Role
}

// RoutesOf are all that a Console serves.
func RoutesOf(c *Console) []Route {
	var all []Route
	for _, r := range c.routes() {
		all = append(all, Route{r.method, r.pattern, r.need})
	}
	return all
}

// Eager has pages look at all that they may, and wait for the first look, however long it takes, and looks follow each other
// whatever they cost.
func Eager(c *Console) { c.firstTime, c.live.share = time.Hour, 0 }

// Hurried has pages take no time that they can do without.
func Hurried(c *Console) { c.firstTime = time.Microsecond }

// NextLook is how long after the beginning of a look that took so long the next one is.
func NextLook(c *Console, took time.Duration) time.Duration {
	return c.live.nextLook(time.Time{}, took).Sub(time.Time{})
}

// LooksSoon says whether the next sample looks though it need not, and has it not do so.
func LooksSoon(c *Console) bool { return c.live.isDue(time.Time{}, time.Now()) }

// Said reports whether a text is in the catalogue of every language but the first.
func Said(text string) bool {
	for _, l := range languages[1:] {
		if _, ok := catalogs[l][text]; !ok {
			return false
		}
	}
	return true
}
