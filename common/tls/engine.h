// One end of a TLS connection as a state machine without sockets: bytes from the network go in,
// bytes for the network come out, and what happens between is OpenSSL. The owner moves the bytes.
//
// Why not boost::asio::ssl::stream: it sends one record per system call (here 64 KiB go out in
// one), counts no bytes, and leaves open what a shutdown does to a read that is under way.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/error.h"
#include "common/tls/link_context.h"

namespace branchline {

enum class TlsRole { client, server };

// Called by one thread at a time.
class TlsEngine {
 public:
  struct Options {
    // The peer must be this server; empty: any server of our authority.
    std::string expected_peer;
    // RFC 8446 5.5 wants new keys within 2^24.5 records of AES-GCM; a write is at most five
    // records.
    uint64_t writes_per_key = uint64_t{1} << 22;
  };
  TlsEngine(std::shared_ptr<const LinkContext> context, TlsRole role, Options options);
  TlsEngine(std::shared_ptr<const LinkContext> context, TlsRole role)
      : TlsEngine(std::move(context), role, Options()) {}
  ~TlsEngine();
  TlsEngine(TlsEngine&&) noexcept;
  TlsEngine& operator=(TlsEngine&&) noexcept;

  // Bytes that came from the network.
  void received(std::string_view bytes);
  // Bytes for the network, taken. To be asked for after each call of any other function, failed
  // ones too: an alert tells the peer why.
  std::string take_output();

  // Goes on with the handshake; true when it is done and the peer is verified. With TLS 1.3 a
  // client is done before the server has looked at the client's certificate: a refusal comes with
  // the first read().
  // Errors: denied "tls.expired", "tls.not_yet_valid", "tls.other_authority", "tls.no_certificate",
  // "tls.bad_name", "tls.wrong_name", "tls.refused" (the peer refused us); invalid
  // "tls.old_version", "tls.not_tls", "tls.failed".
  Result<bool> handshake();
  // The verified name of the peer, after the handshake.
  const std::string& peer() const;
  // And its certificate, DER.
  std::string peer_certificate() const;

  enum class Reading { open, ended };  // ended: the peer has closed orderly, there will be no more
  // Appends what was decrypted to `out`.
  // Errors: denied "tls.refused"; corrupt "tls.broken" (forged or damaged bytes).
  Result<Reading> read(std::string& out);
  // Encrypts; at most 64 KiB at once.
  // Errors: corrupt "tls.broken".
  Result<void> write(std::string_view bytes);
  // Tells the peer that nothing more will be written.
  void finish();

  // On the wire, handshake included.
  uint64_t bytes_in() const;
  uint64_t bytes_out() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace branchline
