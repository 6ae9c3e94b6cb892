package api

import _ "embed" // for the document

// Document describes the API as OpenAPI 3.1, in YAML. A test holds that it is what [API.Handler] serves.
//
//go:embed openapi.yaml
var Document []byte
