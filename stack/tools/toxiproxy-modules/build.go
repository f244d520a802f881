//go:build never

// Package toxiproxy pins the modules that the toxiproxy server is built from: go.mod their versions, go.sum their hashes.
package toxiproxy

import _ "github.com/Shopify/toxiproxy/v2/cmd/server"
