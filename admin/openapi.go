package admin

import (
	"encoding"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// argument is one of a query.
type argument struct{ name, about string }

// openAPI serves the description of the API. It is made of the routes and of the types that
// they answer with, so that it cannot differ from them.
func (c *Console) openAPI(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, c.describe())
}

// object is one of JSON.
type object = map[string]any

var pathArgument = regexp.MustCompile(`\{(\w+)\}`)

// describe is the description by OpenAPI 3.1: https://spec.openapis.org/oas/v3.1.1.html
func (c *Console) describe() object {
	s := schemas{}
	paths := object{}
	for _, r := range c.routes() {
		if !r.isAPI() {
			continue
		}
		operation := object{"summary": r.about, "responses": s.responses(&r)}
		parameters := []object{}
		for _, m := range pathArgument.FindAllStringSubmatch(r.pattern, -1) {
			parameters = append(parameters, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
		}
		for _, q := range r.query {
			parameters = append(parameters, object{"name": q.name, "in": "query", "description": q.about, "schema": object{"type": "string"}})
		}
		if len(parameters) > 0 {
			operation["parameters"] = parameters
		}
		if r.in != nil {
			operation["requestBody"] = object{"required": true, "content": content(s.of(reflect.TypeOf(r.in)))}
		}
		path, _ := paths[r.pattern].(object)
		if path == nil {
			path = object{}
			paths[r.pattern] = path
		}
		path[strings.ToLower(r.method)] = operation
	}
	return object{
		"openapi": "3.1.1",
		"info": object{
			"title": "Waybill", "version": c.o.Version,
			"description": "What waits in outboxes and why, rejected messages, and sending them again. What changes something takes JSON, and needs the role operator.",
		},
		"servers":    []object{{"url": "../.."}},
		"security":   []object{{}, {"token": []string{}}},
		"paths":      paths,
		"components": object{"schemas": s, "securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}}},
	}
}

func content(schema object) object {
	return object{"application/json": object{"schema": schema}}
}

// schemas are those of the components, by name.
type schemas object

func (s schemas) responses(r *route) object {
	schema := object{"type": "object"}
	if r.out != nil {
		schema = s.of(reflect.TypeOf(r.out))
	}
	done := "200"
	if r.in != nil {
		done = "202"
	}
	return object{
		done:      object{"description": http.StatusText(http.StatusOK), "content": content(schema)},
		"default": object{"description": "It was not done, and why", "content": content(s.of(reflect.TypeFor[apiError]()))},
	}
}

// of is the schema of a type as encoding/json writes it.
func (s schemas) of(t reflect.Type) object {
	switch {
	case t.Kind() == reflect.Pointer:
		return object{"anyOf": []object{s.of(t.Elem()), {"type": "null"}}}
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Struct:
		name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
		if _, known := s[name]; !known {
			s[name] = nil // for a type that holds itself
			properties, required := object{}, []string{}
			s.fields(t, properties, &required)
			s[name] = object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
		}
		return object{"$ref": "#/components/schemas/" + name}
	}
	panic("admin: a type that no schema is known of: " + t.String())
}

func (s schemas) fields(t reflect.Type, properties object, required *[]string) {
	for f := range t.Fields() {
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			s.fields(inner, properties, required)
		case name == "" || name == "-":
		default:
			properties[name] = s.of(f.Type)
			if option != "omitempty" {
				*required = append(*required, name)
			}
		}
	}
}
