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

// WaitForFigures has pages wait for the first look, however long it takes.
func WaitForFigures(c *Console) { c.firstTime = time.Hour }

// Said reports whether a text is in the catalogue of every language but the first.
func Said(text string) bool {
	for _, l := range languages[1:] {
		if _, ok := catalogs[l][text]; !ok {
			return false
		}
	}
	return true
}
