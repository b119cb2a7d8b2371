package waybill

import (
	"encoding/json"
	"fmt"
)

// JSON returns a message to a queue whose body is v as JSON, with the content type
// application/json. It may be changed before it is sent, to one to a topic, for example. The
// error is of what cannot be JSON.
func JSON(destination, key string, v any) (Message, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return Message{}, fmt.Errorf("waybill: the body of a message to %.80q: %w", destination, err)
	}
	return Message{Destination: destination, Key: key, Headers: map[string]string{"content-type": "application/json"}, Body: body}, nil
}
