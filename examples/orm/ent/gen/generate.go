// Package gen is what ent generates.
package gen

//go:generate go run entgo.io/ent/cmd/ent@v0.14.5 generate --target . --feature sql/execquery,sql/upsert ../schema
