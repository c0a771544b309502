# call: f(2)
import asyncio


async def ticks(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i


async def double(x):
    await asyncio.sleep(0)
    return 2 * x


async def work(n):
    found = []
    async for tick in ticks(n):
        found.append(await double(tick))
    return found


def f(n):
    return asyncio.run(work(n))
