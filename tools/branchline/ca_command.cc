#include <cstdio>

#include "common/config/topology.h"
#include "common/json/json_writer.h"
#include "common/time/clock.h"
#include "common/tls/authority.h"
#include "tools/branchline/commands.h"

namespace branchline {
namespace {

constexpr int kMostDays = 36500;  // what an authority takes (common/tls/authority.h)

// `kind` is what `where` is: "folder" or "file".
int tell(const CommandContext& context, const Result<CertificateInfo>& made, const char* kind,
         const std::string& where) {
  if (!made) {
    std::fprintf(stderr, "%s\n", made.error().message.c_str());
    return 1;
  }
  if (context.json) {
    std::string out;
    JsonWriter w(out);
    w.begin_object()
        .member("subject", made->subject)
        .member(kind, where)
        .member("fingerprint", made->fingerprint);
    w.member("notAfter", utc_time(made->not_after_s)).end_object();
    std::printf("%s\n", out.c_str());
  } else {
    std::printf("%s in %s, valid until %s\n", made->subject.c_str(), where.c_str(),
                utc_time(made->not_after_s).c_str());
  }
  return 0;
}

}  // namespace

void add_ca_command(CLI::App& app, CommandContext& context) {
  auto* ca = app.add_subcommand("ca", "the certificate authority of Branchline's own servers");
  ca->footer(
      "Example:\n  branchline ca create --dir ca\n  branchline ca issue east --dir ca --out "
      "/var/lib/branchline/east/tls");
  ca->require_subcommand(1);
  struct Options {
    std::string dir, server, out;
    int days = 0;
    bool replace = false;
  };
  auto o = std::make_shared<Options>();
  auto* create = ca->add_subcommand(
      "create", "make an authority: ca.key (keep it off the servers) and ca.pem");
  create->add_option("--dir", o->dir, "where it is kept")->required();
  create->add_flag("--replace", o->replace,
                   "in place of one that is there; every server that it issued is cut off");
  create->add_option("--days", o->days, "days that it is valid (default 3650)")
      ->check(CLI::Range(1, kMostDays));
  create->footer("Example:\n  branchline ca create --dir ca");
  create->callback([&context, o] {
    context.run = [&context, o] {
      SystemClock clock;
      AuthorityOptions options;
      if (o->days > 0) options.validity_days = o->days;
      if (o->replace) options.overwrite = Overwrite::replace;
      return tell(context, create_authority(o->dir, clock, options), "folder", o->dir);
    };
  });
  auto* issue = ca->add_subcommand(
      "issue", "make a server's key and certificate, and put ca.pem beside them");
  issue->add_option("--dir", o->dir, "the authority's folder")->required();
  // Not ->required(): --help would say so of SERVER and of --server, of which one is enough.
  issue->add_option("SERVER,--server", o->server,
                    "the server's name, as in the topology file; given as SERVER or as --server");
  issue
      ->add_option("--out", o->out,
                   "where to put them: the server's --tls folder (default DATA/tls)")
      ->required();
  issue->add_option("--days", o->days, "days that it is valid (default 825)")
      ->check(CLI::Range(1, kMostDays));
  issue->footer("Example:\n  branchline ca issue east --dir ca --out /var/lib/branchline/east/tls");
  issue->add_flag("--replace", o->replace, "in place of the key and certificate that are there");
  issue->callback([&context, o] {
    if (o->server.empty()) throw CLI::RequiredError("SERVER (or --server)");
    context.run = [&context, o] {
      SystemClock clock;
      ServerOptions options;
      if (o->days > 0) options.validity_days = o->days;
      if (o->replace) options.overwrite = Overwrite::replace;
      return tell(context, issue_server(o->dir, o->server, o->out, clock, options), "folder",
                  o->out);
    };
  });
  auto* show = ca->add_subcommand("show", "describe a certificate file");
  show->add_option("FILE", o->dir, "a PEM file")->required();
  show->footer("Example:\n  branchline ca show /var/lib/branchline/east/tls/server.pem");
  show->callback([&context, o] {
    context.run = [&context, o] {
      return tell(context, describe_certificate(o->dir), "file", o->dir);
    };
  });
}

}  // namespace branchline
