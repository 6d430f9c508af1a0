-- sysbench's client for the SQL servers: the change of 4 fields, prepared, each its own transaction.
sysbench.cmdline.options = {
   chunks = {"Files of changes, a thread reads CHUNKS.<its number>", ""},
   from = {"The first line of each chunk", 0},
   number = {"The number of the first change", 0}
}

function thread_init()
   drv = sysbench.sql.driver()
   con = drv:connect()
   local uuid, instant = "?", "?"
   if drv:name() == "pgsql" then uuid, instant = "?::uuid", "?::timestamptz" end
   stmt = con:prepare("UPDATE contact SET statuscode = ?, description = ?, lastusedincampaign = " .. instant ..
                      ", numberofchildren = ? WHERE id = " .. uuid)
   local T = sysbench.sql.type
   p = {stmt:bind_create(T.INT), stmt:bind_create(T.VARCHAR, 110), stmt:bind_create(T.VARCHAR, 30),
        stmt:bind_create(T.BIGINT), stmt:bind_create(T.VARCHAR, 36)}
   stmt:bind_param(unpack(p))
   rows = {}
   for line in io.lines(sysbench.opt.chunks .. "." .. sysbench.tid) do rows[#rows + 1] = line end
   k = 0
end

function event()
   local id, status, note = rows[(sysbench.opt.from + k) % #rows + 1]:match("^([^\t]*)\t([^\t]*)\t(.*)$")
   local n = sysbench.opt.number + k * sysbench.opt.threads + sysbench.tid
   p[1]:set(tonumber(status))
   p[2]:set(note)
   p[3]:set(os.date("!%Y-%m-%d %H:%M:%S") .. string.format(".%03d", n % 1000))
   p[4]:set(n)
   p[5]:set(id)
   stmt:execute()
   k = k + 1
end

function thread_done()
   stmt:close()
   con:disconnect()
end
