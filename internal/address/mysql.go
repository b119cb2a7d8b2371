//go:build !waybill_lean || waybill_mysql

package address

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	mysqldriver "github.com/go-sql-driver/mysql"
)

// openMySQL has the driver send statements with their arguments in one round trip where
// it can (interpolateParams); it prepares, runs and closes them otherwise.
func openMySQL(addr, client string) (*sql.DB, error) {
	u, err := serverURL(addr)
	if err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(u.Path, "/")
	if name == "" {
		return nil, errors.New("the name of the database is missing: mysql://user:password@host:3306/database")
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = "3306"
	}
	config, err := mysqldriver.ParseDSN("tcp(" + net.JoinHostPort(host, port) + ")/?" + u.RawQuery)
	if err != nil {
		return nil, err
	}
	config.DBName, config.User = name, u.User.Username()
	config.Passwd, _ = u.User.Password()
	if !u.Query().Has("interpolateParams") {
		config.InterpolateParams = true
	}
	if client != "" && !hasAttribute(config.ConnectionAttributes, programName) {
		config.ConnectionAttributes = strings.TrimPrefix(config.ConnectionAttributes+","+programName+":"+client, ",")
	}
	config.Logger = driverLog{}
	connector, err := mysqldriver.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return bounded(sql.OpenDB(connector)), nil
}

// programName is the connection attribute by which performance_schema shows what program has
// connected.
const programName = "program_name"

// hasAttribute says whether a list in the driver's form, NAME:VALUE,NAME:VALUE, has a name.
func hasAttribute(list, name string) bool {
	for attribute := range strings.SplitSeq(list, ",") {
		if n, _, found := strings.Cut(attribute, ":"); found && n == name {
			return true
		}
	}
	return false
}

// driverLog puts what MySQL's driver says of broken connections into the log, at the
// level Debug: where it concerns a caller, the caller gets an error.
type driverLog struct{}

func (driverLog) Print(words ...any) {
	slog.Debug("MySQL driver", slog.String("text", strings.TrimSpace(fmt.Sprintln(words...))))
}
