-- name: InsertOrder :exec
INSERT INTO orders (id, item) VALUES ($1, $2);

-- name: KeepShipment :exec
INSERT INTO shipments (order_id, item) VALUES ($1, $2)
ON CONFLICT (order_id) DO UPDATE SET item = excluded.item;
