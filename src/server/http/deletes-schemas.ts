/** The shapes of deletes that are held back until they are approved. */
import { z } from "@hono/zod-openapi";

export const HeldDeletesSchema = z
  .object({
    id: z.string().openapi({ description: "Names exactly these deletes; an approval has to say it." }),
    reason: z.enum(["limit", "empty", "unfamiliar", "unmounted"]),
    files: z.number().int().openapi({ description: "Files and links that would be deleted." }),
    of: z.number().int().openapi({ description: "What the folder held when the window began." }),
    deleted: z
      .number()
      .int()
      .openapi({ description: "Files deleted within the window, before the limit was reached." }),
    deletedSince: z.number().optional().openapi({ description: "When the first was. Milliseconds since 1970." }),
    windowMs: z.number().openapi({ description: "How long a loss counts." }),
    paths: z.array(z.string()).readonly().openapi({ description: "The first 20 of them." }),
  })
  .openapi("HeldDeletes");

export const DeletesAnswerBody = z
  .object({
    id: z.string().openapi({ description: "Of the deletes that were shown." }),
    approved: z
      .boolean()
      .default(true)
      .openapi({ description: "False: keep the files, and go on holding the deletes back." }),
  })
  .strict()
  .openapi("DeletesAnswer");
