CREATE TABLE IF NOT EXISTS shipments (order_id varchar(255) PRIMARY KEY, state varchar(20) NOT NULL);
CREATE TABLE IF NOT EXISTS paid (order_id varchar(255) PRIMARY KEY, cents bigint NOT NULL);
