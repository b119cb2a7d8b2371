// Package schema is what ent generates its code from.
package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"
)

// Order is what is placed.
type Order struct{ ent.Schema }

// Annotations name the table.
func (Order) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Annotation{Table: "orders"}}
}

// Fields are the table's columns.
func (Order) Fields() []ent.Field {
	return []ent.Field{field.Int64("id"), field.String("item")}
}

// Shipment is an order on its way.
type Shipment struct{ ent.Schema }

// Annotations name the table.
func (Shipment) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Annotation{Table: "shipments"}}
}

// Fields are the table's columns.
func (Shipment) Fields() []ent.Field {
	return []ent.Field{field.Int64("id").StorageKey("order_id"), field.String("item")}
}
