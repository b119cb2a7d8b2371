package torture

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/waybill-go/waybill/cmd/waybill/internal/supervisor"
	"github.com/waybill-go/waybill/store"
)

const (
	producerCount = 3 // of ours; a foreign one is beside them
	relayCount    = 2
	consumerCount = 2 // of each group that takes from queues
)

// retention is short, so that forgetting is at work all the time. It is longer where a
// clock is an hour off, by which ages are then judged wrongly, and where the broker is
// trusted (see brokerIsTrusted).
const (
	retention     = 5 * time.Second
	longRetention = 2*skew + retention
	skew          = time.Hour
)

// openDatabases opens the databases and makes the tables.
func (r *run) openDatabases(ctx context.Context) error {
	schema := strings.TrimSuffix(r.o.Schema, ".")
	if schema != "" {
		schema += "."
	}
	r.prefix = schema + "torture_" + r.name + "_"
	if r.o.ProducerDB == "" {
		r.o.ProducerDB = "sqlite:" + filepath.Join(r.dir, "producer.db")
		if r.o.ConsumerDB == "" {
			r.o.ConsumerDB = "sqlite:" + filepath.Join(r.dir, "consumer.db")
		}
	}
	if r.o.ConsumerDB == "" {
		r.o.ConsumerDB = r.o.ProducerDB
	}
	var err error
	if r.producerDB, err = openDatabase(r.o.ProducerDB, r.prefix); err != nil {
		return err
	}
	if r.consumerDB, err = openDatabase(r.o.ConsumerDB, r.prefix); err != nil {
		return err
	}
	if err := r.producerDB.create(ctx, store.Producer, r.topic()); err != nil {
		return err
	}
	queue, err := store.NewQueue(r.producerDB.DB, r.producerDB.dialect, r.prefix)
	if err != nil {
		return err
	}
	if r.identity, err = queue.Identity(ctx); err != nil {
		return err
	}
	if r.dbClock.began, err = r.readClock(ctx); err != nil {
		return err
	}
	r.dbClock.ahead = time.Until(time.UnixMicro(r.dbClock.began))
	return r.consumerDB.create(ctx, store.Consumer, r.topic())
}

// addresses are where the processes of a role find a server: itself, or its proxy.
type addresses struct {
	producersDB, relaysDB, consumersDB string
	relaysBroker, consumersBroker      string
}

// setup makes the processes, which it does not start, and the proxies between them and the
// servers.
func (r *run) setup(ctx context.Context) error {
	r.injected = map[string]int{}
	r.brokerAddr = r.o.Broker
	if r.brokerAddr == "" {
		var err error
		if r.brokerAddr, err = supervisor.BrokerAddress(ctx); err != nil {
			return err
		}
		r.broker = r.process("broker", command{Role: brokerRole, Broker: r.brokerAddr, Dir: r.brokerDir(), MaxStore: maxStore})
	}
	at, err := r.putProxies(ctx)
	if err != nil {
		return err
	}
	for fault := range r.chosen {
		if reason := r.impossible(fault); reason != "" {
			r.missing[fault] = reason
		}
	}
	r.setupProcesses(at)
	r.chooseAbsent()
	return r.readRedelivery()
}

// readRedelivery asks the adapter when the broker delivers again what a dead process had.
func (r *run) readRedelivery() error {
	b, err := openBroker(command{Broker: r.brokerAddr, Dir: r.embeddedDir()})
	if err == nil {
		r.redelivery = b.Capabilities().Redelivery
	}
	return err
}

// putProxies puts a proxy before each server that can have one, if the network is to be
// broken.
func (r *run) putProxies(ctx context.Context) (addresses, error) {
	at := addresses{r.o.ProducerDB, r.o.ProducerDB, r.o.ConsumerDB, r.brokerAddr, r.brokerAddr}
	if !r.chosen["network"] {
		return at, nil
	}
	for _, x := range []struct {
		name string
		addr *string
	}{
		{"producers' database", &at.producersDB}, {"relays' database", &at.relaysDB}, {"consumers' database", &at.consumersDB},
		{"relays' broker", &at.relaysBroker}, {"consumers' broker", &at.consumersBroker},
	} {
		p, through, reason, err := newProxy(ctx, x.name, *x.addr)
		if err != nil {
			return at, err
		}
		if p == nil {
			r.missing["network: "+x.name] = reason
			continue
		}
		r.proxies = append(r.proxies, p)
		*x.addr = through
	}
	return at, nil
}

// setupProcesses makes the producers, relays and consumers.
func (r *run) setupProcesses(at addresses) {
	common := command{
		Run: r.name, Prefix: r.prefix, Destinations: destinationsOf(r.name), Topic: r.topic(),
		Pace: r.o.Pace, Transfers: r.o.Transfers, Retention: retention,
	}
	if r.chosen["clock"] || r.brokerIsTrusted() {
		common.Retention = longRetention
	}
	common.Dir = r.embeddedDir()
	producer := common
	producer.Role, producer.Database = producerRole, at.producersDB
	for i := range producerCount {
		r.producers = append(r.producers, r.process(fmt.Sprint("producer-", i+1), producer))
	}
	producer.Foreign = true
	r.producers = append(r.producers, r.process(foreignProducer, producer))
	relay := common
	relay.Role, relay.Database, relay.Broker = relayRole, at.relaysDB, at.relaysBroker
	for i := range relayCount {
		r.relays = append(r.relays, r.process(fmt.Sprint("relay-", i+1), relay))
	}
	relay.Rogue = true
	r.rogue = r.process("rogue", relay)
	consumer := func(name, group string) {
		c := common
		c.Role, c.Database, c.Broker, c.Group = consumerRole, at.consumersDB, at.consumersBroker, group
		r.consumers = append(r.consumers, r.process(name, c))
	}
	for i := range consumerCount {
		consumer(fmt.Sprint(onceGroup, "-", i+1), onceGroup)
		consumer(fmt.Sprint(latestGroup, "-", i+1), latestGroup)
	}
	foreign := common
	foreign.Role, foreign.Database, foreign.Broker = abroadRole, at.consumersDB, at.consumersBroker
	r.consumers = append(r.consumers, r.process(foreignConsumer, foreign))
	if r.topic() {
		for _, group := range topicGroups { // not every broker lets several share a topic
			consumer(group, group)
		}
	}
}

// process makes a process whose every life is told c first, with the active faults.
func (r *run) process(name string, c command) *process {
	return &process{
		Name:    name,
		Exec:    r.exec,
		LogPath: filepath.Join(r.dir, name+".log"),
		Failed:  func(err error) { r.fail(err) },
		First: func(life uint64) command {
			c := c
			c.Name = fmt.Sprintf("%s.%d", name, life)
			c.Seed = r.o.Seed ^ hash(c.Name)
			if c.Role == producerRole {
				c.Journal = filepath.Join(r.dir, c.Name+".journal")
				if r.chosen["clock"] && name == "producer-1" {
					// Each of its lives has the clock wrong in its own way.
					c.Skew = skew
					if c.Seed%2 == 0 {
						c.Skew = -skew
					}
					r.count("clock")
				}
			}
			return r.withActiveFaults(c)
		},
	}
}

// topic says that some orders go to a topic. With even seeds none do: a relay that
// counts consumers looks at all receipts in another way, and rows that wait for two hold
// the floor up while things are broken, so that little is forgotten.
func (r *run) topic() bool { return r.o.Seed%2 == 1 || r.named }

// brokerIsTrusted says that nothing in this run makes the broker lose what it has
// confirmed. Only then notices have to arrive, whose rows go with its confirmation;
// they hold no floor, so that then nothing may be forgotten early.
//
// A server whose disk is full may lose some of that (NATS 2.9.10 did), and the embedded
// broker does not: it knows how much it may store. Where a handler fails because the
// database's disk is full, a broker may put away what it has delivered too often.
func (r *run) brokerIsTrusted() bool {
	happens := func(fault string) bool { return r.chosen[fault] && r.impossible(fault) == "" }
	return !happens("messages") && !happens("wipe") && !happens("dbdisk") && (r.broker != nil || !happens("disk"))
}

// embeddedDir is brokerDir; "" where the broker is a server.
func (r *run) embeddedDir() string {
	if r.broker == nil {
		return ""
	}
	return r.brokerDir()
}

func (r *run) brokerDir() string { return filepath.Join(r.dir, "broker") }
